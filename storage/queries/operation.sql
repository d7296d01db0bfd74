-- name: partitions
-- How far each partition has come. behind_s: how much has been closed and isn't counted yet.
SELECT
    partitions.partition_no, partitions.epoch, next, last_batch_no,
    coalesce(greatest(extract(epoch FROM closed_before - (SELECT min(counted_before) FROM window_marks)), 0), 0)::float8
        AS behind_s,
    CASE WHEN worker IS NOT NULL THEN jsonb_build_object(
        'worker', worker, 'behind_messages', behind, 'behind_s', partition_reports.behind_s,
        'watermark_delay_s', watermark_delay_s, 'dead_letters', refused, 'trouble', trouble,
        'age_s', extract(epoch FROM clock_timestamp() - reported_at)::float8
    ) END AS report
FROM partitions LEFT JOIN partition_reports USING (partition_no)
ORDER BY partition_no

-- name: topic
-- Where readings come from, as name/id; NULL while the engine's own process takes them in.
SELECT topic FROM installation

-- name: to_recount
-- Quarter-hours that are counted and will be again, because of what came late or was corrected.
SELECT count(*) AS quarters FROM (SELECT DISTINCT pack_id, starts FROM window_notes) AS noted

-- name: packs
-- Packs by state, of all tenants, as live aggregates count them: silent since a moment, or with readings of the past
-- alone; never seen without a reading under this holder.
SELECT
    count(*) FILTER (WHERE heard_ms >= %(silent_before_ms)s) AS reporting,
    count(*) FILTER (WHERE heard_ms < %(silent_before_ms)s OR heard_ms IS NULL AND has_past) AS silent,
    count(*) FILTER (WHERE heard_ms IS NULL AND NOT has_past) AS never_seen
FROM (
    SELECT
        CASE live_tenant_id WHEN tenant_id THEN live_arrived_ms END AS heard_ms,
        coalesce(watermark_ms >= extract(epoch FROM held_from) * 1000, false) AS has_past
    FROM tenures LEFT JOIN pack_state USING (pack_id)
    WHERE held_to = 'infinity'
) AS held

-- name: pace
-- Readings accepted in the last minute; a batch that was taken in parts counts once.
SELECT coalesce(sum(accepted), 0)::float8 / 60 AS readings_per_s FROM batches
WHERE arrived_at > %(since)s AND (part_of IS NULL OR parts IS NOT NULL)

-- name: open_alerts
SELECT severity, count(*) AS alerts FROM alerts WHERE state = 'open' GROUP BY severity

-- name: deliveries
SELECT count(*) FILTER (WHERE state = 'pending') AS waiting, count(*) FILTER (WHERE state = 'dead') AS dead
FROM deliveries WHERE state IN ('pending', 'dead')

-- name: last_import
-- The import that was begun last, with the sums of its batches.
SELECT
    imports.id::text AS id, tenants.name AS tenant, source, imports.created_at, undone_at,
    coalesce(sums.accepted, 0)::int8 AS accepted, coalesce(sums.quarantined, 0)::int8 AS quarantined
FROM (SELECT * FROM imports ORDER BY created_at DESC LIMIT 1) AS imports JOIN tenants USING (tenant_id)
LEFT JOIN LATERAL (
    SELECT sum(accepted) AS accepted, sum(quarantined) AS quarantined FROM batches
    WHERE batches.tenant_id = imports.tenant_id AND import_id = imports.id AND (part_of IS NULL OR parts IS NOT NULL)
) AS sums ON true

-- name: latest_arrival
SELECT max(arrived_at) FROM batches WHERE batch_no > (SELECT max(last_batch_no) - 1000 FROM partitions)

-- name: migrations
SELECT number, name FROM migrations ORDER BY number

-- name: position
-- What a copy of the database holds: how far each partition has come, the largest batch number and when it arrived.
SELECT
    (SELECT coalesce(jsonb_object_agg(partition_no, next), '{}') FROM partitions) AS partitions,
    (SELECT coalesce(max(last_batch_no), 0) FROM partitions) AS batch_no,
    (SELECT max(arrived_at) FROM batches WHERE batch_no > (SELECT max(last_batch_no) - 1000 FROM partitions)) AS arrived_at,
    (SELECT id::text FROM installation) AS installation,
    (SELECT max(number) FROM migrations) AS migration

-- name: write_report
INSERT INTO partition_reports (
    partition_no, worker, epoch, reported_at, log_end, behind, behind_s, refused, picture, watermark_delay_s, trouble
)
SELECT
    partition_no, %(worker)s, epoch, %(reported_at)s, %(log_end)s, %(behind)s, %(behind_s)s, %(refused)s, %(picture)s,
    %(watermark_delay_s)s, %(trouble)s
FROM partitions WHERE partition_no = %(partition_no)s
ON CONFLICT (partition_no) DO UPDATE SET
    worker = excluded.worker, epoch = excluded.epoch, reported_at = excluded.reported_at, log_end = excluded.log_end,
    behind = excluded.behind, behind_s = excluded.behind_s, refused = excluded.refused, picture = excluded.picture,
    watermark_delay_s = excluded.watermark_delay_s, trouble = excluded.trouble

-- name: pictures
-- Of every partition; NULL before its first report.
SELECT partition_no, (extract(epoch FROM reported_at) * 1000)::int8 AS reported_at_ms, picture
FROM partitions LEFT JOIN partition_reports USING (partition_no) ORDER BY partition_no

-- name: unreported
-- Of some partitions, as live aggregates count them: packs by place and state (0 never seen, 1 silent, 2 reporting;
-- kind NULL), and open alerts by the place where they were raised and the state of their pack now (3 without one).
WITH held AS MATERIALIZED (
    SELECT
        pack_id, tenant_id, site_id, model_id,
        CASE live_tenant_id WHEN tenant_id THEN live_arrived_ms END AS heard_ms,
        coalesce(watermark_ms >= extract(epoch FROM held_from) * 1000, false) AS has_past
    FROM tenures LEFT JOIN pack_state USING (pack_id)
    WHERE held_to = 'infinity' AND pack_id %% (SELECT partitions FROM installation) = ANY(%(numbers)s::int4[])
), packs AS MATERIALIZED (
    SELECT
        pack_id, tenant_id, site_id, model_id,
        CASE WHEN heard_ms >= %(silent_before_ms)s THEN 2 WHEN heard_ms IS NOT NULL OR has_past THEN 1 ELSE 0 END
            AS state
    FROM held
)
SELECT tenant_id, site_id, model_id, state, NULL AS kind, count(*) AS counted FROM packs GROUP BY 1, 2, 3, 4
UNION ALL
SELECT
    alerts.tenant_id, tenures.site_id, tenures.model_id, coalesce(packs.state, 3),
    CASE WHEN silence_id IS NULL THEN severity ELSE 'muted' END, count(*)
FROM alerts
LEFT JOIN tenures ON tenures.tenure_no = alerts.tenure_no
LEFT JOIN packs ON packs.pack_id = alerts.pack_id AND packs.tenant_id = alerts.tenant_id
WHERE alerts.state = 'open' AND security_kind IS NULL
    AND coalesce(alerts.pack_id, alerts.tenant_id) %% (SELECT partitions FROM installation) = ANY(%(numbers)s::int4[])
GROUP BY 1, 2, 3, 4, 5
