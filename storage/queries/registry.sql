-- name: tenant
SELECT tenant_id, name, register_unknown_packs FROM tenants WHERE name = %(name)s

-- name: create_tenant
INSERT INTO tenants (name, register_unknown_packs) VALUES (%(name)s, %(register)s)
ON CONFLICT (name) DO NOTHING RETURNING tenant_id

-- name: version
SELECT registry_version, register_unknown_packs FROM tenants WHERE tenant_id = %(tenant_id)s

-- name: known
-- The packs that a tenant may name, each with its tenures under every tenant, oldest first.
SELECT
    packs.external_id, packs.pack_id, tenures.tenant_id,
    CASE WHEN isfinite(held_from) THEN floor(extract(epoch FROM held_from) * 1000)::int8 ELSE %(always_ms)s END AS from_ms,
    CASE WHEN isfinite(held_to) THEN floor(extract(epoch FROM held_to) * 1000)::int8 ELSE %(forever_ms)s END AS to_ms,
    sites.name AS site, models.limits
FROM packs
JOIN tenures ON tenures.pack_id = packs.pack_id
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
LEFT JOIN models ON models.tenant_id = tenures.tenant_id AND models.id = tenures.model_id
WHERE packs.tenant_id = %(tenant_id)s AND packs.external_id = ANY(%(names)s)
ORDER BY packs.external_id, tenures.held_from

-- name: import_exists
SELECT 1 AS found FROM imports WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: confirm_clock
UPDATE installation SET clock_confirmed_at = clock_timestamp()
