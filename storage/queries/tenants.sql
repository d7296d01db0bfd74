-- name: list
-- Tenants by name, with when they are erased and how many packs they have.
SELECT
    name, state, packs_max, day_readings_max, day_requests_max, day_received_bytes_max, placement, cell, created_at, suspended_at, suspended_for, deletion_asked_at, erased_from,
    (SELECT count(*) FROM packs WHERE packs.tenant_id = tenants.tenant_id) AS packs,
    (SELECT name FROM retention_classes WHERE class_no = retention_class) AS retention_class
FROM tenants
WHERE (%(name)s::text IS NULL OR name = %(name)s) AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: lock
SELECT tenant_id, name, state, placement, cell, erased_from, retention_class FROM tenants WHERE name = %(name)s FOR NO KEY UPDATE

-- name: lock_partitions
SELECT partition_no FROM partitions ORDER BY partition_no FOR NO KEY UPDATE

-- name: has_readings
-- Whether readings or windows of a tenant are stored, or values that were superseded; by the index of packs.
SELECT EXISTS (
    SELECT FROM packs CROSS JOIN LATERAL (
        (SELECT FROM readings WHERE pack_id = packs.pack_id AND tenant_id = %(tenant)s LIMIT 1)
        UNION ALL
        (SELECT FROM superseded_readings WHERE pack_id = packs.pack_id AND tenant_id = %(tenant)s LIMIT 1)
        UNION ALL
        (SELECT FROM quarters WHERE pack_id = packs.pack_id AND tenant_id = %(tenant)s LIMIT 1)
    ) AS kept
    WHERE packs.tenant_id = %(tenant)s
) AS has

-- name: set_retention_class
UPDATE tenants SET retention_class = %(class_no)s, registry_version = changed_registry(registry_version)
WHERE tenant_id = %(tenant)s

-- name: tell_owners
-- They connect anew, and learn which class a tenant is of.
UPDATE partitions SET arrivals = arrivals + 1

-- name: suspend
-- Its rules are learnt anew: none.
UPDATE tenants SET
    suspended_at = clock_timestamp(), suspended_for = %(reason)s,
    rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s

-- name: resume
UPDATE tenants SET
    suspended_at = NULL, suspended_for = NULL, rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s

-- name: delete
UPDATE tenants SET
    deletion_asked_at = clock_timestamp(), erased_from = clock_timestamp() + %(grace_days)s * interval '1 day',
    rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s
RETURNING erased_from

-- name: undelete
UPDATE tenants SET
    deletion_asked_at = NULL, erased_from = NULL, rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s

-- name: described_columns
SELECT
    attname AS name, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS comment
FROM pg_attribute WHERE attrelid = to_regclass('bpm.' || %(table)s) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
