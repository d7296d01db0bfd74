-- name: insert
INSERT INTO users (tenant_id, login, roles, all_sites, invitation_digest, invitation_expires_at, created_at)
VALUES (%(tenant_id)s, %(login)s, %(roles)s, %(all_sites)s, %(digest)s, %(expires_at)s, %(now)s)
RETURNING id

-- name: set_sites
WITH gone AS (
    DELETE FROM user_sites
    WHERE tenant_id = %(tenant_id)s AND user_id = %(id)s AND site_id <> ALL(%(site_ids)s::uuid[])
)
INSERT INTO user_sites (tenant_id, user_id, site_id)
SELECT %(tenant_id)s, %(id)s, site_id FROM unnest(%(site_ids)s::uuid[]) AS site_id
ON CONFLICT DO NOTHING

-- name: list
SELECT
    id, login, state, roles, has_password, invitation_expires_at, created_at, purge_at, version,
    CASE WHEN NOT all_sites THEN sites_of_user(tenant_id, id) END AS sites
FROM users
WHERE tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s)
    AND (%(login)s::text IS NULL OR login = %(login)s)
    AND (%(after)s::text IS NULL OR login > %(after)s)
ORDER BY login LIMIT %(limit)s

-- name: lock
SELECT id FROM users WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: lock_all
-- Held until commit: users that are invited at once are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('bpm.users'), %(tenant_id)s)

-- name: of_inhabited
-- Whether anybody but who runs the installation has ever acted in a tenant, or anything is there that is of use to who
-- would let itself in. The audit log alone isn't enough: readings leave no entry, and old entries are dropped.
SELECT true AS inhabited WHERE
    EXISTS (SELECT FROM users WHERE tenant_id = %(tenant_id)s AND state <> 'invited')
    OR EXISTS (
        SELECT FROM audit_log
        WHERE tenant_id = %(tenant_id)s AND subject <> 'installation' AND NOT starts_with(subject, 'operator:')
    )
    OR EXISTS (SELECT FROM request_days WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM ingest_days WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM access_grants WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM service_accounts WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM roles WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM packs WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM sites WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM models WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM key_aliases WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM imports WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM submissions WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM batches WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM quarantine WHERE tenant_id = %(tenant_id)s)
    OR EXISTS (SELECT FROM rules WHERE tenant_id = %(tenant_id)s AND security_kind IS NULL)
    OR EXISTS (SELECT FROM channels WHERE tenant_id = %(tenant_id)s)

-- name: count
SELECT count(*) AS count FROM users WHERE tenant_id = %(tenant_id)s

-- name: update
UPDATE users SET login = %(login)s, roles = %(roles)s, all_sites = %(all_sites)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: set_state
UPDATE users SET state = %(state)s, purge_at = %(purge_at)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: invite
UPDATE users SET invitation_digest = %(digest)s, invitation_expires_at = %(expires_at)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: end_sessions
DELETE FROM sessions WHERE tenant_id = %(tenant_id)s AND user_id = %(id)s

-- name: purge
-- Across tenants. What is left of them is their id, in the audit log; a tenant on its way to another cell waits.
WITH due AS (
    SELECT users.tenant_id, users.id FROM users JOIN tenants USING (tenant_id)
    WHERE purge_at <= %(now)s AND placement = 'here'
    ORDER BY purge_at LIMIT %(limit)s FOR UPDATE OF users SKIP LOCKED
), gone AS (
    DELETE FROM users USING due WHERE (users.tenant_id, users.id) = (due.tenant_id, due.id)
    RETURNING users.tenant_id, users.id
)
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, request_id)
SELECT tenant_id, 'installation', 'users.purged', 'users', id::text, '' FROM gone
