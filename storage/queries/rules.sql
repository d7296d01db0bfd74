-- name: raise_version
-- Before the time of the change is taken: the writer holds this row for as long as a group runs the rules before.
UPDATE tenants SET rules_version = rules_version + 1 WHERE tenant_id = %(tenant_id)s

-- name: count
SELECT count(*) AS count FROM rules WHERE tenant_id = %(tenant_id)s AND security_kind IS NULL

-- name: insert
INSERT INTO rules (tenant_id, name, scope, site_id, model_id, pack_id)
VALUES (%(tenant_id)s, %(name)s, %(scope)s, %(site_id)s, %(model_id)s, %(pack_id)s)
RETURNING id, rule_no

-- name: insert_version
INSERT INTO rule_versions (
    tenant_id, rule_no, number, effective_from, enabled, severity, condition, flap_raises_max, flap_window_s,
    created_by
) VALUES (
    %(tenant_id)s, %(rule_no)s, %(number)s, %(effective_from)s, %(enabled)s, %(severity)s, %(condition)s,
    %(flap_raises_max)s, %(flap_window_s)s, %(created_by)s
)

-- name: list
-- Rules with their newest version; a credential limited to sites sees those that hold there.
SELECT
    rules.id, rules.rule_no, rules.name, scope, rules.site_id, rules.model_id, rules.pack_id,
    coalesce(sites.name, models.name, packs.external_id) AS scope_name, rules.created_at, rules.version,
    newest.number, newest.effective_from, newest.enabled, newest.severity, newest.condition,
    newest.flap_raises_max, newest.flap_window_s
FROM rules
JOIN LATERAL (
    SELECT * FROM rule_versions
    WHERE rule_versions.tenant_id = rules.tenant_id AND rule_versions.rule_no = rules.rule_no
    ORDER BY number DESC LIMIT 1
) AS newest ON true
LEFT JOIN sites ON sites.tenant_id = rules.tenant_id AND sites.id = rules.site_id
LEFT JOIN models ON models.tenant_id = rules.tenant_id AND models.id = rules.model_id
LEFT JOIN packs ON packs.tenant_id = rules.tenant_id AND packs.pack_id = rules.pack_id
WHERE rules.tenant_id = %(tenant_id)s AND security_kind IS NULL
    AND (%(id)s::uuid IS NULL OR rules.id = %(id)s::uuid)
    AND (%(after)s::text IS NULL OR rules.name > %(after)s)
    AND (
        %(sites)s::text[] IS NULL OR scope IN ('tenant', 'model') OR sites.name = ANY(%(sites)s::text[])
        OR (
            SELECT held.name FROM tenures
            LEFT JOIN sites AS held ON held.tenant_id = tenures.tenant_id AND held.id = tenures.site_id
            WHERE tenures.tenant_id = rules.tenant_id AND tenures.pack_id = rules.pack_id
            ORDER BY held_from DESC LIMIT 1
        ) = ANY(%(sites)s::text[])
    )
ORDER BY rules.name LIMIT %(limit)s

-- name: lock
SELECT id, rule_no, version FROM rules WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND security_kind IS NULL FOR UPDATE

-- name: rename
UPDATE rules SET name = %(name)s, version = version + 1 WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: versions
SELECT number, effective_from, enabled, severity, condition, flap_raises_max, flap_window_s, created_by
FROM rule_versions WHERE tenant_id = %(tenant_id)s AND rule_no = %(rule_no)s
    AND (%(after)s::bigint IS NULL OR number > %(after)s)
ORDER BY number LIMIT %(limit)s

-- name: by_id
SELECT rule_no FROM rules WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND security_kind IS NULL

-- name: scopes_in
-- The tenures for which a scope holds, for a preview.
SELECT
    tenure_no, tenant_id, pack_id, site_id, model_id,
    CASE WHEN isfinite(held_to) THEN floor(extract(epoch FROM held_to) * 1000)::int8 ELSE %(forever_ms)s END AS to_ms
FROM tenures
WHERE tenant_id = %(tenant_id)s
    AND (%(pack_id)s::integer IS NULL OR pack_id = %(pack_id)s)
    AND (%(site_id)s::uuid IS NULL OR site_id = %(site_id)s)
    AND (%(model_id)s::uuid IS NULL OR model_id = %(model_id)s)

-- name: live_readings
-- The live readings of some packs in from <= t < to, as they arrived; where asked for, those of imports as if they had
-- come live.
SELECT
    array_agg(tenant_id), array_agg(tenure_no), array_agg(pack_id), array_agg(ts), array_agg(arrived_at),
    {measure_arrays}
FROM (
    SELECT readings.*, {arrival} AS arrived_at, tenures.tenure_no
    FROM readings
    JOIN batches ON batches.tenant_id = readings.tenant_id AND batches.batch_no = readings.batch_no
    JOIN tenures ON tenures.tenant_id = readings.tenant_id AND tenures.pack_id = readings.pack_id
        AND held_from <= ts AND ts < held_to
    WHERE readings.tenant_id = %(tenant_id)s AND readings.pack_id = ANY(%(packs)s::int4[])
        AND ts >= %(from)s AND ts < %(to)s AND {chosen}
    ORDER BY {order}readings.batch_no, item_no LIMIT %(limit)s
) AS live

-- name: newest_live_readings
-- Of the readings that live_readings would give, the time of the newest one that is beyond so many.
SELECT ts
FROM readings
JOIN batches ON batches.tenant_id = readings.tenant_id AND batches.batch_no = readings.batch_no
JOIN tenures ON tenures.tenant_id = readings.tenant_id AND tenures.pack_id = readings.pack_id
    AND held_from <= ts AND ts < held_to
WHERE readings.tenant_id = %(tenant_id)s AND readings.pack_id = ANY(%(packs)s::int4[])
    AND ts >= %(from)s AND ts < %(to)s AND {chosen}
ORDER BY ts DESC OFFSET %(limit)s LIMIT 1

-- name: last_live_readings
-- The last such reading of each pack before a moment: where a silence that goes on began. No further back than readings
-- are kept for certain.
SELECT
    array_agg(tenant_id), array_agg(tenure_no), array_agg(pack_id), array_agg(ts), array_agg(arrived_at),
    {measure_arrays}
FROM unnest(%(packs)s::int4[]) AS wanted (pack)
CROSS JOIN LATERAL (
    SELECT readings.*, {arrival} AS arrived_at, tenures.tenure_no
    FROM readings
    JOIN batches ON batches.tenant_id = readings.tenant_id AND batches.batch_no = readings.batch_no
    JOIN tenures ON tenures.tenant_id = readings.tenant_id AND tenures.pack_id = readings.pack_id
        AND held_from <= ts AND ts < held_to
    WHERE readings.tenant_id = %(tenant_id)s AND readings.pack_id = wanted.pack
        AND ts < %(before)s AND {chosen}
        AND ts >= (SELECT archived_before - interval '1 day' FROM tenant_lines WHERE tenant_id = %(tenant_id)s)
    ORDER BY ts DESC LIMIT 1
) AS live

-- name: set_aside
SELECT source, floor(extract(epoch FROM arrived_at) * 1000)::int8 AS arrived_ms, quarantined
FROM batches
WHERE tenant_id = %(tenant_id)s AND mode = 'live' AND source <> 'redrive' AND arrived_at >= %(from)s AND arrived_at < %(to)s
    AND NOT EXISTS (
        SELECT FROM batches AS part WHERE part.tenant_id = batches.tenant_id AND part.part_of = batches.id
    )
ORDER BY batch_no LIMIT %(limit)s

-- name: pack_names
SELECT pack_id, external_id AS pack FROM packs WHERE tenant_id = %(tenant_id)s AND pack_id = ANY(%(packs)s::int4[])
