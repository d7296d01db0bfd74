-- name: changed_packs
-- The packs of which a tenure was written by a transaction that an earlier snapshot didn't see, and the snapshot of now.
SELECT
    pg_current_snapshot()::text,
    (
        SELECT array_agg(DISTINCT pack_id) FROM tenures
        WHERE changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
            -- What is beyond was written in another cluster, before a restore.
            AND changed_xid < pg_snapshot_xmax(pg_current_snapshot())
            AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)
            AND pack_id %% %(partitions)s = %(partition_no)s
    )

-- name: holders
-- Where packs are now, by their tenure that has no end: all of them, or those given. Numbers of places begin at 0.
WITH held AS MATERIALIZED (
    SELECT
        pack_id, tenant_id,
        coalesce(site_id, '00000000-0000-0000-0000-000000000000') AS site,
        coalesce(model_id, '00000000-0000-0000-0000-000000000000') AS model
    FROM tenures WHERE held_to = 'infinity' AND pack_id %% %(partitions)s = %(partition_no)s AND {which}
), places AS MATERIALIZED (
    SELECT tenant_id, site, model, (row_number() OVER () - 1)::int4 AS place
    FROM (SELECT DISTINCT tenant_id, site, model FROM held) AS different
), former AS MATERIALIZED (
    SELECT held.pack_id, max(others.held_to) AS until
    FROM held JOIN tenures AS others ON others.pack_id = held.pack_id
    WHERE others.tenant_id <> held.tenant_id AND others.held_to <> 'infinity'
    GROUP BY held.pack_id
)
SELECT
    pg_current_snapshot()::text,
    string_agg(int4send(held.pack_id), ''),
    string_agg(int4send(place), ''),
    (SELECT array_agg(pack_id) FROM former),
    (SELECT array_agg(until) FROM former),
    (SELECT array_agg(tenant_id ORDER BY place) FROM places),
    (SELECT array_agg(site::text ORDER BY place) FROM places),
    (SELECT array_agg(model::text ORDER BY place) FROM places)
FROM held JOIN places USING (tenant_id, site, model)

-- name: last_arrivals
SELECT
    array_agg(pack_id), array_agg(live_tenant_id), array_agg(live_arrived_ms), array_agg(live_newest_ts_ms),
    array_agg(live_skew_ms)
FROM pack_state WHERE live_arrived_ms IS NOT NULL AND pack_id %% %(partitions)s = %(partition_no)s

-- name: open_alerts
SELECT
    tenant_id, rule_no, rule_version, pack_id, source, floor(extract(epoch FROM onset) * 1000)::int8 AS onset_ms,
    severity, silence_id IS NOT NULL AS muted, tenure_no
FROM alerts WHERE state = 'open' AND security_kind IS NULL AND coalesce(pack_id, tenant_id) %% %(partitions)s = %(partition_no)s

-- name: site_names
-- What a live answer calls sites or models, by their ids: those that the credential sees, by name.
SELECT id, name, region FROM sites
WHERE tenant_id = %(tenant_id)s AND (%(sites)s::text[] IS NULL OR name = ANY(%(sites)s::text[]))
ORDER BY name LIMIT %(limit)s

-- name: model_names
SELECT id, name FROM models WHERE tenant_id = %(tenant_id)s ORDER BY name LIMIT %(limit)s

-- name: pack_names
SELECT pack_id, external_id AS pack FROM packs
WHERE tenant_id = %(tenant_id)s AND pack_id = ANY(%(numbers)s::int4[])
