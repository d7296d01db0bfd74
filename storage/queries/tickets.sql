-- name: insert
INSERT INTO tickets (tenant_id, digest, claims, expires_at)
VALUES (%(tenant_id)s, %(digest)s, %(claims)s, %(expires_at)s)

-- name: drop_expired
DELETE FROM tickets WHERE tenant_id = %(tenant_id)s AND expires_at <= %(now)s

-- name: use
-- A ticket is used once, whoever is faster.
DELETE FROM tickets WHERE digest = %(digest)s RETURNING tenant_id, claims, expires_at
