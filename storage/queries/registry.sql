-- name: tenant
SELECT tenant_id, name, placement, cell, cell_url, state, packs_max, day_readings_max, day_requests_max, day_received_bytes_max,
    created_at
FROM tenants WHERE name = %(name)s

-- name: rights
-- The tenant's own roles with their actions, and its regions with their sites.
SELECT true AS role, name, actions AS holds FROM roles WHERE tenant_id = %(tenant_id)s
UNION ALL
SELECT false, region, array_agg(name) FROM sites WHERE tenant_id = %(tenant_id)s AND region IS NOT NULL GROUP BY region

-- name: tenant_names
SELECT name FROM tenants ORDER BY name LIMIT %(limit)s

-- name: create_tenant
INSERT INTO tenants (name, register_unknown_packs, retention_class) VALUES (%(name)s, %(register)s, %(class_no)s)
ON CONFLICT (name) DO NOTHING RETURNING tenant_id

-- name: not_served
-- Which of some tenants have moved, and where, or are suspended or being deleted.
SELECT tenant_id, name, placement, cell, cell_url, state, packs_max, day_readings_max, day_requests_max, day_received_bytes_max,
    created_at
FROM tenants
WHERE tenant_id = ANY(%(tenants)s) AND (placement = 'moved' OR state <> 'active')

-- name: version
SELECT
    placement, cell, cell_url, state, registry_version, register_unknown_packs,
    CASE WHEN isfinite(archived_before) THEN (extract(epoch FROM archived_before) * 1000)::int8 ELSE %(always_ms)s END
        AS archived_before_ms
FROM tenants JOIN retention_classes ON class_no = retention_class WHERE tenant_id = %(tenant_id)s

-- name: known
-- The packs that a tenant may name, each with its tenures under every tenant, oldest first.
SELECT
    packs.external_id, packs.pack_id, pack_mark(packs.id) AS mark, tenures.tenant_id,
    CASE WHEN isfinite(held_from) THEN floor(extract(epoch FROM held_from) * 1000)::int8 ELSE %(always_ms)s END AS from_ms,
    CASE WHEN isfinite(held_to) THEN floor(extract(epoch FROM held_to) * 1000)::int8 ELSE %(forever_ms)s END AS to_ms,
    sites.name AS site, models.limits, tenures.tenure_no
FROM packs
JOIN tenures ON tenures.pack_id = packs.pack_id
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
LEFT JOIN models ON models.tenant_id = tenures.tenant_id AND models.id = tenures.model_id
WHERE packs.tenant_id = %(tenant_id)s AND packs.external_id = ANY(%(names)s)
ORDER BY packs.external_id, tenures.held_from

-- name: import_exists
SELECT 1 AS found FROM imports
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
    AND (%(only_subject)s::text IS NULL OR created_by = %(only_subject)s)

-- name: confirm_clock
UPDATE installation SET
    clock_confirmed_at = clock_timestamp(),
    clock_trusted_until = greatest(clock_trusted_until, clock_timestamp()),
    clock_confirmed_batch_no = (SELECT coalesce(max(last_batch_no), 0) FROM partitions)

-- name: lock_tenants
-- Waits for the groups that were judged by the tenures as they are, and makes later ones judge again.
WITH locked AS (SELECT tenant_id FROM tenants WHERE name = ANY(%(names)s) ORDER BY tenant_id FOR NO KEY UPDATE)
UPDATE tenants SET registry_version = changed_registry(registry_version) FROM locked WHERE tenants.tenant_id = locked.tenant_id
RETURNING tenants.tenant_id, name

-- name: held
SELECT packs.pack_id, max(tenures.held_from)::text AS held_from
FROM packs JOIN tenures USING (tenant_id, pack_id)
WHERE packs.tenant_id = %(tenant_id)s AND external_id = %(pack)s AND held_to = 'infinity'
GROUP BY packs.pack_id

-- name: reading_since
SELECT max(ts) AS ts FROM readings WHERE pack_id = %(pack_id)s AND ts >= %(starts)s

-- name: archived_since
SELECT archived_before FROM tenant_lines
WHERE tenant_id = %(tenant_id)s AND %(starts)s::timestamptz < archived_before AND EXISTS (
    SELECT FROM quarters
    WHERE pack_id = %(pack_id)s AND quarters.starts > %(starts)s::timestamptz - interval '15 minutes'
        AND quarters.starts < archived_before
)

-- name: end_tenure
UPDATE tenures SET held_to = %(starts)s
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND held_to = 'infinity' AND held_from < %(starts)s

-- name: adopt
INSERT INTO packs (tenant_id, pack_id, external_id) VALUES (%(tenant_id)s, %(pack_id)s, %(pack)s)
ON CONFLICT (tenant_id, pack_id) DO UPDATE SET external_id = excluded.external_id, version = packs.version + 1

-- name: begin_tenure
INSERT INTO tenures (tenant_id, pack_id, held_from) VALUES (%(tenant_id)s, %(pack_id)s, %(starts)s)

-- name: note_hand_over
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, after, request_id)
SELECT tenant_id, 'installation', 'packs.handed_over', 'packs', id::text, jsonb_build_object('from', %(starts)s::timestamptz), ''
FROM packs WHERE pack_id = %(pack_id)s AND tenant_id = ANY(%(tenants)s)
