-- name: insert
INSERT INTO corrections (
    tenant_id, kind, pack_id, starts, ends, chosen, thousandths, batch_id, import_id, reason, subject
) VALUES (
    %(tenant_id)s, %(kind)s, %(pack_id)s, %(starts)s, %(ends)s, %(chosen)s, %(thousandths)s, %(batch_id)s,
    %(import_id)s, %(reason)s, %(subject)s
) RETURNING id

-- name: list
SELECT
    corrections.id, kind, external_id AS pack, starts, ends, chosen, thousandths, batch_id, import_id, reason, subject,
    requested_at, status, readings, finished_at, correction_no
FROM corrections
LEFT JOIN packs ON packs.tenant_id = corrections.tenant_id AND packs.pack_id = corrections.pack_id
WHERE corrections.tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR corrections.id = %(id)s)
    AND (%(after)s::bigint IS NULL OR correction_no > %(after)s)
ORDER BY correction_no LIMIT %(limit)s

-- name: undo_import
-- An import that is undone takes no more readings. Waits for a group that is committing some.
UPDATE imports SET undone_at = coalesce(undone_at, now()) WHERE tenant_id = %(tenant_id)s AND id = %(import_id)s
RETURNING id

-- name: batch_exists
SELECT true AS there FROM batches WHERE tenant_id = %(tenant_id)s AND (id = %(batch_id)s OR part_of = %(batch_id)s) LIMIT 1

-- name: archived
-- The first archived time that a correction would touch, if it does.
SELECT archived_before FROM tenant_lines
WHERE tenant_id = %(tenant_id)s AND (%(starts)s::timestamptz < archived_before OR EXISTS (
    SELECT FROM batches
    WHERE tenant_id = %(tenant_id)s AND (id = %(batch_id)s OR part_of = %(batch_id)s OR import_id = %(import_id)s)
        AND first_ts < archived_before
))

-- name: was_stored
-- Whether each measure of one reading is or was stored.
SELECT {measures_known} FROM (
    SELECT {measures} FROM readings WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts = %(starts)s
    UNION ALL
    SELECT {measures} FROM superseded_readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts = %(starts)s
) AS ever

-- name: next_unfinished
SELECT
    correction_no, id, tenant_id, kind, pack_id, (extract(epoch FROM starts) * 1000)::int8 AS starts_ms,
    (extract(epoch FROM ends) * 1000)::int8 AS ends_ms, chosen, thousandths, batch_id, import_id
FROM corrections
WHERE status <> 'done' AND NOT EXISTS (
    SELECT FROM correction_parts
    WHERE correction_parts.correction_no = corrections.correction_no AND partition_no = %(partition_no)s
)
ORDER BY correction_no LIMIT 1

-- name: end_of_slice
-- The time of the last of the next readings of a range, as many as a slice takes; those of one time stay together.
SELECT max(ts) AS ts FROM (
    SELECT ts FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts < %(to)s AND ({any_chosen})
    ORDER BY ts LIMIT %(limit)s
) AS next_ones

-- name: next_batches
SELECT batch_no, received, first_ts, last_ts FROM batches
WHERE tenant_id = %(tenant_id)s AND (id = %(batch_id)s OR part_of = %(batch_id)s OR import_id = %(import_id)s)
    AND batch_no > %(batch_no)s AND accepted > 0
    AND NOT EXISTS (
        SELECT FROM batches AS part WHERE part.tenant_id = batches.tenant_id AND part.part_of = batches.id
    )
ORDER BY batch_no LIMIT 500

-- name: of_range
tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts <= %(to)s AND ({any_chosen})

-- name: of_batches
tenant_id = %(tenant_id)s AND batch_no >= %(first_no)s AND batch_no <= %(last_no)s AND batch_no = ANY(%(batches)s)
    AND item_no >= %(first_item)s AND item_no < %(end_item)s AND ts >= %(from)s AND ts <= %(to)s
    AND pack_id %% %(partitions)s = %(partition_no)s

-- name: replace
-- Moves the chosen measures of some readings out of the truth; what the readings have besides stays.
WITH gone AS (
    DELETE FROM {readings} WHERE {which} RETURNING tenant_id, pack_id, ts, batch_no, item_no, {measures}
), kept AS (
    INSERT INTO superseded_readings (tenant_id, pack_id, ts, batch_no, item_no, {measures}, correction_no, deleted)
    SELECT tenant_id, pack_id, ts, batch_no, item_no, {chosen}, %(correction_no)s, %(deleted)s FROM gone
), remaining AS (
    INSERT INTO {readings} (tenant_id, pack_id, ts, batch_no, item_no, {measures})
    SELECT tenant_id, pack_id, ts, batch_no, item_no, {others} FROM gone WHERE {any_other}
), marked AS (
    INSERT INTO corrected_packs (pack_id) SELECT DISTINCT pack_id FROM gone ON CONFLICT DO NOTHING
)
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(ts), {chosen_arrays} FROM gone

-- name: proceed
UPDATE corrections SET readings = readings + %(readings)s, status = 'running' WHERE correction_no = %(correction_no)s

-- name: finish
-- Done by one partition; the last one to finish says that it is done.
WITH part AS (
    INSERT INTO correction_parts (correction_no, partition_no) VALUES (%(correction_no)s, %(partition_no)s)
    ON CONFLICT DO NOTHING RETURNING 1 AS done
)
UPDATE corrections SET
    parts_done = parts_done + done,
    status = CASE WHEN parts_done + done < partitions THEN 'running' ELSE 'done' END,
    finished_at = CASE WHEN parts_done + done < partitions THEN NULL ELSE clock_timestamp() END
FROM part, installation WHERE correction_no = %(correction_no)s

-- name: touched_packs
SELECT array_agg(DISTINCT pack_id) FROM superseded_readings
WHERE correction_no = %(correction_no)s AND pack_id %% %(partitions)s = %(partition_no)s

-- name: held_then
SELECT true AS held FROM tenures
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND held_from <= %(ts)s AND held_to > %(ts)s

-- name: corrected_packs
SELECT array_agg(pack_id) FROM corrected_packs WHERE pack_id %% %(partitions)s = %(partition_no)s

-- name: latest
-- The latest value of each measure of some packs, from what is stored, with its time; NaN where there is none.
SELECT {latest_columns}
FROM unnest(%(pack)s::int4[]) WITH ORDINALITY AS wanted (pack, n)
{latest_joins}

-- name: archived_latest
-- The latest values of some packs in their saved states that lie in archived days of who held them then: those of
-- other days are absent.
SELECT array_agg(pack_id), array_agg(latest_ts_ms), array_agg(ARRAY(
    SELECT CASE WHEN EXISTS (
        SELECT FROM tenures JOIN tenant_lines USING (tenant_id)
        WHERE tenures.pack_id = pack_state.pack_id AND at_ms < extract(epoch FROM archived_before) * 1000
            AND at_ms >= extract(epoch FROM held_from) * 1000 AND at_ms < extract(epoch FROM held_to) * 1000
    ) THEN value ELSE %(absent)s::int4 END
    FROM unnest(latest_ts_ms, latest) WITH ORDINALITY AS one (at_ms, value, place) ORDER BY place
))
FROM pack_state
WHERE pack_id = ANY(%(pack)s::int4[]) AND EXISTS (SELECT FROM retention_classes WHERE isfinite(archived_before))

-- name: latest_column
array_agg(coalesce({measure}_latest.ts, 'epoch') ORDER BY n), array_agg(coalesce({measure}_latest.value, 'NaN') ORDER BY n)

-- name: latest_join
LEFT JOIN LATERAL (
    SELECT ts, {measure} AS value FROM readings WHERE pack_id = wanted.pack AND {measure} IS NOT NULL
    ORDER BY ts DESC LIMIT 1
) AS {measure}_latest ON true
