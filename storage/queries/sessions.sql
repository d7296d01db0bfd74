-- name: find
-- Who signs in, across tenants.
SELECT users.tenant_id, id, users.state, password_hash FROM users JOIN tenants USING (tenant_id)
WHERE tenants.name = %(tenant)s AND login = %(login)s

-- name: invited
SELECT users.tenant_id, tenants.name AS tenant, id, login FROM users JOIN tenants USING (tenant_id)
WHERE invitation_digest = %(digest)s AND invitation_expires_at > %(now)s
    AND users.state IN ('invited', 'active')

-- name: of_handle
SELECT tenant_id, user_id AS id FROM sessions WHERE handle_digest = %(handle_digest)s

-- name: lock_user
-- Whoever changes the user waits until the session is begun or refreshed, and then ends it. Users are locked before
-- their sessions.
SELECT id FROM users WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR SHARE

-- name: user
SELECT
    users.tenant_id, tenants.name AS tenant, id, login, users.state, roles, password_hash,
    CASE WHEN NOT all_sites THEN sites_of_user(users.tenant_id, id) END AS sites
FROM users JOIN tenants USING (tenant_id)
WHERE users.tenant_id = %(tenant_id)s AND id = %(id)s

-- name: rehash
UPDATE users SET password_hash = %(hash)s
FROM tenants
WHERE tenants.tenant_id = users.tenant_id AND placement = 'here'
    AND users.tenant_id = %(tenant_id)s AND id = %(id)s AND password_hash = %(former)s

-- name: insert
INSERT INTO sessions (tenant_id, user_id, handle_digest, secret_digest, created_at, expires_at)
VALUES (%(tenant_id)s, %(id)s, %(handle_digest)s, %(secret_digest)s, %(now)s, %(expires_at)s)
RETURNING id AS session

-- name: end_surplus
-- A user has so many sessions; the oldest go.
DELETE FROM sessions WHERE tenant_id = %(tenant_id)s AND user_id = %(id)s AND id IN (
    SELECT id FROM sessions WHERE tenant_id = %(tenant_id)s AND user_id = %(id)s
    ORDER BY created_at DESC, id OFFSET %(sessions_max)s
)

-- name: rotate
-- Of several that come with the same secret one wins.
UPDATE sessions SET
    secret_digest = %(next_digest)s,
    expires_at = least(%(expires_at)s, created_at + make_interval(secs => %(session_s_max)s))
WHERE handle_digest = %(handle_digest)s AND secret_digest = %(secret_digest)s AND expires_at > %(now)s
RETURNING id AS session, expires_at

-- name: end
DELETE FROM sessions WHERE handle_digest = %(handle_digest)s RETURNING id AS session, expires_at > %(now)s AS lived

-- name: accept
-- An invitation is used once, whoever is faster.
UPDATE users SET
    password_hash = %(hash)s, state = 'active', invitation_digest = NULL, invitation_expires_at = NULL,
    version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND invitation_digest = %(digest)s
    AND invitation_expires_at > %(now)s AND state IN ('invited', 'active')
RETURNING id

-- name: set_password
-- An invitation that is open would let in who found it.
UPDATE users SET
    password_hash = %(hash)s, invitation_digest = NULL, invitation_expires_at = NULL, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND password_hash = %(former)s AND state = 'active'
RETURNING id

-- name: note
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, request_id, client_address)
VALUES (%(tenant_id)s, %(subject)s, 'users.' || %(action)s, 'users', %(id)s::text, %(request_id)s, %(client_address)s)

-- name: end_of_user
DELETE FROM sessions WHERE tenant_id = %(tenant_id)s AND user_id = %(id)s

-- name: drop_expired
DELETE FROM sessions WHERE expires_at <= %(now)s
