-- name: insert
INSERT INTO operators (login, invitation_digest, invitation_expires_at, created_at)
VALUES (%(login)s, %(digest)s, %(expires_at)s, clock_timestamp())
ON CONFLICT (login) DO NOTHING
RETURNING id, login, state, invitation_expires_at, created_at

-- name: lock
SELECT id, login, state, password_hash IS NOT NULL AS has_password FROM operators WHERE login = %(login)s FOR UPDATE

-- name: list
SELECT id, login, state, invitation_expires_at, created_at FROM operators
WHERE %(login)s::text IS NULL OR login = %(login)s
ORDER BY login

-- name: invite
UPDATE operators SET invitation_digest = %(digest)s, invitation_expires_at = %(expires_at)s WHERE id = %(id)s

-- name: set_state
UPDATE operators SET state = %(state)s WHERE id = %(id)s

-- name: end_sessions
DELETE FROM operator_sessions WHERE operator_id = %(id)s

-- name: delete
DELETE FROM operators WHERE id = %(id)s
