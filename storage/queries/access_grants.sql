-- name: lock_all
-- Held until commit: grants that are given at once are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('bpm.access_grants'), %(tenant_id)s)

-- name: count_open
SELECT count(*) AS count FROM access_grants
WHERE tenant_id = %(tenant_id)s AND revoked_at IS NULL AND ends_at > %(now)s

-- name: insert
INSERT INTO access_grants (tenant_id, subject, roles, reason, granted_by, granted_at, ends_at)
VALUES (%(tenant_id)s, %(subject)s, %(roles)s, %(reason)s, %(granted_by)s, %(now)s, %(ends_at)s)
RETURNING id, subject, roles, reason, granted_by, granted_at, ends_at, revoked_at, revoked_by

-- name: list
-- The newest first.
SELECT id, subject, roles, reason, granted_by, granted_at, ends_at, revoked_at, revoked_by
FROM access_grants
WHERE tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
    AND (%(before)s::timestamptz IS NULL OR (granted_at, id) < (%(before)s, %(before_id)s::uuid))
ORDER BY granted_at DESC, id DESC LIMIT %(limit)s

-- name: lock
SELECT id FROM access_grants WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: revoke
UPDATE access_grants SET revoked_at = %(now)s, revoked_by = %(revoked_by)s
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: open_for
-- Across tenants: what an operator may use now.
SELECT id, tenants.tenant_id, tenants.name AS tenant, access_grants.subject, roles, reason, granted_at, ends_at
FROM access_grants JOIN tenants USING (tenant_id)
WHERE (access_grants.subject IS NULL OR access_grants.subject = %(subject)s)
    AND revoked_at IS NULL AND ends_at > %(now)s
    AND (%(id)s::uuid IS NULL OR id = %(id)s)
ORDER BY ends_at, id LIMIT %(limit)s

-- name: end_all
-- No grant of a tenant is good any more, nor a token by one; every process is told on commit.
WITH ended AS (
    UPDATE access_grants SET revoked_at = clock_timestamp(), revoked_by = %(by)s
    WHERE tenant_id = %(tenant)s AND revoked_at IS NULL AND ends_at > clock_timestamp()
    RETURNING id, revoked_at
), raised AS (
    INSERT INTO credential_epochs (tenant_id, holder, epoch, raised_at)
    SELECT %(tenant)s, 'grant:' || id, nextval('credential_epochs_epoch_seq'), clock_timestamp() FROM ended
    ON CONFLICT (tenant_id, holder) DO UPDATE SET epoch = excluded.epoch, raised_at = excluded.raised_at
)
SELECT id, revoked_at, pg_notify('bpm_credentials', '') FROM ended
