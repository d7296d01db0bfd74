-- name: list
-- The newest first.
SELECT id, at, subject, client_address, action, resource, resource_id, site, before, after, request_id
FROM audit_log
WHERE tenant_id = %(tenant_id)s
    AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
    AND (%(starts)s::timestamptz IS NULL OR at >= %(starts)s)
    AND (%(ends)s::timestamptz IS NULL OR at < %(ends)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(resource)s::text IS NULL OR resource = %(resource)s)
    AND (%(resource_id)s::text IS NULL OR resource_id = %(resource_id)s)
    AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s)
    AND (%(client_address)s::text IS NULL OR client_address = %(client_address)s)
    AND (%(site)s::text IS NULL OR site = %(site)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: drop
-- Entries that were kept for so long, some of them, and of each tenant an entry that says so. No clock that is ahead of
-- the one that is trusted makes them older.
WITH bound AS (
    SELECT least(%(now)s::timestamptz, clock_trusted_until) - %(keep)s::interval AS before FROM installation
), dropped AS (
    DELETE FROM audit_log
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM audit_log WHERE at < (SELECT before FROM bound) LIMIT %(limit)s))
    RETURNING tenant_id
), noted AS (
    INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, after, request_id)
    SELECT
        tenant_id, 'engine', 'audit.dropped', 'audit', 'retention',
        jsonb_build_object('entries', count(*), 'before', (SELECT before FROM bound)), ''
    FROM dropped GROUP BY tenant_id
)
SELECT count(*) AS dropped FROM dropped
