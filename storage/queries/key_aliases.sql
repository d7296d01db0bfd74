-- name: list
SELECT alias, key, factor, "offset" FROM key_aliases WHERE tenant_id = %(tenant_id)s ORDER BY alias

-- name: version
SELECT key_aliases_version AS version FROM tenants WHERE tenant_id = %(tenant_id)s

-- name: lock
-- Held until commit: one change of the set at a time, and no reading judged by two of them.
SELECT key_aliases_version AS version FROM tenants WHERE tenant_id = %(tenant_id)s FOR UPDATE

-- name: clear
DELETE FROM key_aliases WHERE tenant_id = %(tenant_id)s

-- name: insert
INSERT INTO key_aliases (tenant_id, alias, key, factor, "offset")
SELECT %(tenant_id)s, * FROM unnest(
    %(alias)s::text[], %(key)s::text[], %(factor)s::float8[], %(offset)s::float8[]
)

-- name: raise_version
UPDATE tenants SET key_aliases_version = key_aliases_version + 1, registry_version = changed_registry(registry_version)
WHERE tenant_id = %(tenant_id)s RETURNING key_aliases_version AS version
