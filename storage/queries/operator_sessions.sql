-- As sessions.sql, of operators, who have no tenant and one role.

-- name: find
SELECT 0 AS tenant_id, id, state, password_hash FROM operators WHERE login = %(login)s

-- name: invited
SELECT 0 AS tenant_id, NULL AS tenant, id, login FROM operators
WHERE invitation_digest = %(digest)s AND invitation_expires_at > %(now)s AND state IN ('invited', 'active')

-- name: of_handle
SELECT 0 AS tenant_id, operator_id AS id FROM operator_sessions WHERE handle_digest = %(handle_digest)s

-- name: lock_user
SELECT id FROM operators WHERE id = %(id)s FOR SHARE

-- name: user
SELECT
    0 AS tenant_id, NULL AS tenant, id, login, state, ARRAY['platform_admin'] AS roles, password_hash, NULL AS sites
FROM operators WHERE id = %(id)s

-- name: rehash
UPDATE operators SET password_hash = %(hash)s WHERE id = %(id)s AND password_hash = %(former)s

-- name: insert
INSERT INTO operator_sessions (operator_id, handle_digest, secret_digest, created_at, expires_at)
VALUES (%(id)s, %(handle_digest)s, %(secret_digest)s, %(now)s, %(expires_at)s)
RETURNING id AS session

-- name: end_surplus
DELETE FROM operator_sessions WHERE operator_id = %(id)s AND id IN (
    SELECT id FROM operator_sessions WHERE operator_id = %(id)s ORDER BY created_at DESC, id OFFSET %(sessions_max)s
)

-- name: rotate
UPDATE operator_sessions SET
    secret_digest = %(next_digest)s,
    expires_at = least(%(expires_at)s, created_at + make_interval(secs => %(session_s_max)s))
WHERE handle_digest = %(handle_digest)s AND secret_digest = %(secret_digest)s AND expires_at > %(now)s
RETURNING id AS session, expires_at

-- name: end
DELETE FROM operator_sessions WHERE handle_digest = %(handle_digest)s
RETURNING id AS session, expires_at > %(now)s AS lived

-- name: accept
UPDATE operators SET
    password_hash = %(hash)s, state = 'active', invitation_digest = NULL, invitation_expires_at = NULL
WHERE id = %(id)s AND invitation_digest = %(digest)s AND invitation_expires_at > %(now)s
    AND state IN ('invited', 'active')
RETURNING id

-- name: set_password
UPDATE operators SET password_hash = %(hash)s, invitation_digest = NULL, invitation_expires_at = NULL
WHERE id = %(id)s AND password_hash = %(former)s AND state = 'active'
RETURNING id

-- name: note
INSERT INTO platform_log (subject, action, resource, resource_id, request_id, client_address)
VALUES (%(subject)s, 'operators.' || %(action)s, 'operators', %(id)s::text, %(request_id)s, %(client_address)s)

-- name: end_of_user
DELETE FROM operator_sessions WHERE operator_id = %(id)s

-- name: drop_expired
DELETE FROM operator_sessions WHERE expires_at <= %(now)s
