-- name: insert
INSERT INTO models (tenant_id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits)
VALUES (
    %(tenant_id)s, %(name)s, %(chemistry)s, %(rated_capacity_ah)s, %(voltage_min_v)s, %(voltage_max_v)s, %(limits)s
)
RETURNING id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits, created_at, version

-- name: get
SELECT id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits, created_at, version
FROM models WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: lock
SELECT id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits, created_at, version
FROM models WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: list
SELECT id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits, created_at, version
FROM models WHERE tenant_id = %(tenant_id)s AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: update
UPDATE models SET
    name = %(name)s, chemistry = %(chemistry)s, rated_capacity_ah = %(rated_capacity_ah)s,
    voltage_min_v = %(voltage_min_v)s, voltage_max_v = %(voltage_max_v)s, limits = %(limits)s,
    version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
RETURNING id, name, chemistry, rated_capacity_ah, voltage_min_v, voltage_max_v, limits, created_at, version

-- name: by_name
SELECT given, id FROM unnest(%(given)s::text[]) AS given
JOIN models ON tenant_id = %(tenant_id)s AND (name = given OR id::text = given)
