-- name: lock_all
-- Held until commit: roles that are made at once are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('bpm.roles'), %(tenant_id)s)

-- name: count
SELECT count(*) AS count FROM roles WHERE tenant_id = %(tenant_id)s

-- name: insert
INSERT INTO roles (tenant_id, name, description, actions)
VALUES (%(tenant_id)s, %(name)s, %(description)s, %(actions)s)
RETURNING id, name, description, actions, created_at, version

-- name: get
SELECT id, name, description, actions, created_at, version FROM roles
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: lock
SELECT id, name, description, actions, created_at, version FROM roles
WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: list
SELECT id, name, description, actions, created_at, version FROM roles
WHERE tenant_id = %(tenant_id)s AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: update
UPDATE roles SET description = %(description)s, actions = %(actions)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
RETURNING id, name, description, actions, created_at, version

-- name: delete
DELETE FROM roles WHERE tenant_id = %(tenant_id)s AND id = %(id)s
