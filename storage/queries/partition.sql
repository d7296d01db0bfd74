-- name: lock
-- Every transaction of a partition's owner begins here (rule E7). Rows that only refer to the partition don't wait for it.
SELECT epoch, next, arrivals, (extract(epoch FROM closed_before) * 1000)::int8 AS closed_before_ms
FROM partitions WHERE partition_no = %(partition_no)s FOR NO KEY UPDATE

-- name: epoch
SELECT epoch, arrivals FROM partitions WHERE partition_no = %(partition_no)s

-- name: layout
SELECT partitions, topic, hypertables FROM installation

-- name: take_over
-- Raises the epoch, so that whoever wrote before is fenced off (rule E8).
INSERT INTO partitions (partition_no, epoch) VALUES (%(partition_no)s, 1)
ON CONFLICT (partition_no) DO UPDATE SET epoch = partitions.epoch + 1
RETURNING epoch, next, arrivals, applied_batch_no, last_batch_no

-- name: owned
SELECT epoch, next, arrivals, applied_batch_no, last_batch_no FROM partitions WHERE partition_no = %(partition_no)s

-- name: make_marks
-- Counting begins where closing does; true when there was no mark yet. Asked first, because an insert would wait for
-- a counter that is about to move the mark.
INSERT INTO window_marks (partition_no, counted_before)
SELECT partition_no, closed_before FROM partitions
WHERE partition_no = 0 AND NOT EXISTS (SELECT FROM window_marks)
ON CONFLICT (partition_no) DO NOTHING RETURNING true AS made

-- name: note_everything
-- Every closed quarter-hour that a stored reading touches is to be counted: those stored before there were marks.
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
SELECT DISTINCT tenant_id, pack_id, date_bin('15 minutes', moment, '2000-01-01 00:00:00+00'), 0
FROM readings, installation,
LATERAL (VALUES (ts - gap_s_max * interval '1 second'), (ts), (ts + gap_s_max * interval '1 second')) AS near (moment)
WHERE moment < (SELECT closed_before FROM partitions WHERE partition_no = %(partition_no)s)

-- name: insert_notes
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
SELECT * FROM unnest(%(tenant)s::int4[], %(pack)s::int4[], %(starts)s::timestamptz[], %(batch_no)s::int8[])

-- name: raise_closed_changes
-- In the order of the key, so that no two transactions wait for each other.
INSERT INTO closed_changes (tenant_id, day, partition_no)
SELECT tenant, (starts AT TIME ZONE 'UTC')::date, %(partition_no)s
FROM unnest(%(tenant)s::int4[], %(day_starts)s::timestamptz[]) AS touched (tenant, starts)
ORDER BY 1, 2
ON CONFLICT (tenant_id, day, partition_no) DO UPDATE SET changes = closed_changes.changes + 1

-- name: close_quarters
-- Forward only, under the partition's row.
UPDATE partitions SET closed_before = greatest(closed_before, %(before)s)
WHERE partition_no = %(partition_no)s

-- name: try_writer_lock
SELECT pg_try_advisory_lock(hashtext('bpm.partition'), %(partition_no)s)

-- name: batch_numbers
SELECT array_agg(nextval('batch_numbers')) FROM generate_series(1, %(count)s)

-- name: advance
UPDATE partitions SET next = %(after)s, last_batch_no = %(last_batch_no)s
WHERE partition_no = %(partition_no)s AND epoch = %(epoch)s AND next = %(next)s
RETURNING next

-- name: erased
-- Erased, or on the way to it.
SELECT tenant_no FROM erasures WHERE tenant_no = ANY (%(tenants)s)

-- name: tenant_versions
-- Held until commit: a change of tenure or of rules waits for the readings that were judged before it. Nothing is
-- stored any more of a tenant that a copy is taken of, that is elsewhere, or that is being erased.
SELECT tenant_id, registry_version, rules_version FROM tenants
WHERE tenant_id = ANY(%(tenants)s) AND placement IN ('here', 'leaving') AND erasing_since IS NULL
ORDER BY tenant_id FOR SHARE

-- name: source_positions
SELECT source, next FROM source_positions WHERE partition_no = %(partition_no)s AND source = ANY(%(sources)s)

-- name: move_sources
INSERT INTO source_positions (partition_no, source, next)
SELECT %(partition_no)s, source, next FROM unnest(%(sources)s::text[], %(next)s::int8[]) AS given (source, next)
ON CONFLICT (partition_no, source) DO UPDATE SET next = excluded.next

-- name: packs_marked_so
SELECT array_agg(pack_id) FROM packs JOIN unnest(%(packs)s::int4[], %(marks)s::int8[]) AS asked (pack_id, mark) USING (pack_id)
WHERE tenant_id = %(tenant_id)s AND pack_mark(id) = mark

-- name: latest_arrival
-- Batches that were there when the clock was last confirmed are no evidence against it any more.
SELECT max(arrived_at) FROM batches
WHERE batch_no > (
    SELECT greatest(max(last_batch_no) - 1000, max(clock_confirmed_batch_no)) FROM partitions, installation
)

-- name: load_state
SELECT array_agg(pack_id), array_agg(watermark_ms), array_agg(latest_ts_ms), array_agg(latest) FROM pack_state
WHERE pack_id %% %(partitions)s = %(partition_no)s

-- name: readings_after
-- The readings that pack_state doesn't hold yet; BRIN on the batch number finds their blocks. Of those that were
-- deleted or corrected since, the times: they raise the watermark, by which readings are looked up when they come again.
SELECT array_agg(pack_id), array_agg(ts), {measure_arrays} FROM (
    SELECT pack_id, ts, {measures} FROM readings WHERE batch_no > %(batch_no)s AND pack_id %% %(partitions)s = %(partition_no)s
    UNION ALL
    SELECT pack_id, ts, {absent_measures} FROM superseded_readings
    WHERE batch_no > %(batch_no)s AND pack_id %% %(partitions)s = %(partition_no)s
) AS later

-- name: save_state
-- One row per pack, with its rule clock where that moved: nullif(clock, 0) is its place among the clocks.
INSERT INTO pack_state (
    pack_id, watermark_ms, latest_ts_ms, latest, rule_tenant_id, rule_tenure_no, rule_clock_ms, rule_last_ts_ms,
    rule_last, live_tenant_id, live_arrived_ms, live_newest_ts_ms, live_skew_ms
)
SELECT
    pack_id,
    watermark_ms,
    (%(latest_ts_ms)s::int8[])[(n - 1) * %(measures)s::int8 + 1 : n * %(measures)s::int8],
    (%(latest)s::int4[])[(n - 1) * %(measures)s::int8 + 1 : n * %(measures)s::int8],
    (%(rule_tenant)s::int4[])[clock],
    (%(rule_tenure)s::int4[])[clock],
    (%(rule_clock_ms)s::int8[])[clock],
    (%(rule_last_ts_ms)s::int8[])[(clock - 1) * %(measures)s::int8 + 1 : clock * %(measures)s::int8],
    (%(rule_last)s::int4[])[(clock - 1) * %(measures)s::int8 + 1 : clock * %(measures)s::int8],
    CASE WHEN arrived THEN (%(live_tenant)s::int4[])[clock] END,
    CASE WHEN arrived THEN (%(live_arrived_ms)s::int8[])[clock] END,
    CASE WHEN arrived THEN (%(live_newest_ts_ms)s::int8[])[clock] END,
    CASE WHEN arrived THEN (%(live_skew_ms)s::int8[])[clock] END
FROM (
    SELECT
        pack_id, watermark_ms, nullif(clock, 0) AS clock, n,
        clock > 0 AND (%(live_arrived_ms)s::int8[])[clock] <> %(never_ms)s::int8 AS arrived
    FROM unnest(%(pack)s::int4[], %(watermark_ms)s::int8[], %(clock)s::int4[])
        WITH ORDINALITY AS given (pack_id, watermark_ms, clock, n)
) AS given
ON CONFLICT (pack_id) DO UPDATE SET
    watermark_ms = excluded.watermark_ms, latest_ts_ms = excluded.latest_ts_ms, latest = excluded.latest,
    rule_tenant_id = coalesce(excluded.rule_tenant_id, pack_state.rule_tenant_id),
    rule_tenure_no = coalesce(excluded.rule_tenure_no, pack_state.rule_tenure_no),
    rule_clock_ms = coalesce(excluded.rule_clock_ms, pack_state.rule_clock_ms),
    rule_last_ts_ms = coalesce(excluded.rule_last_ts_ms, pack_state.rule_last_ts_ms),
    rule_last = coalesce(excluded.rule_last, pack_state.rule_last),
    live_tenant_id = coalesce(excluded.live_tenant_id, pack_state.live_tenant_id),
    live_arrived_ms = coalesce(excluded.live_arrived_ms, pack_state.live_arrived_ms),
    live_newest_ts_ms = coalesce(excluded.live_newest_ts_ms, pack_state.live_newest_ts_ms),
    live_skew_ms = coalesce(excluded.live_skew_ms, pack_state.live_skew_ms)

-- name: mark_applied
UPDATE partitions SET applied_batch_no = %(batch_no)s WHERE partition_no = %(partition_no)s

-- name: clock_confirmed_at
SELECT clock_confirmed_at FROM installation

-- name: archived_before
-- Asked for after the tenant is held still: its line doesn't move until commit.
SELECT (extract(epoch FROM nullif(archived_before, '-infinity')) * 1000)::int8 FROM tenant_lines
WHERE tenant_id = %(tenant_id)s

-- name: classes
SELECT class_no FROM retention_classes

-- name: classes_of
SELECT tenant_id, retention_class FROM tenants WHERE tenant_id = ANY(%(tenants)s)

-- name: notify_commit
SELECT pg_notify(%(channel)s, '')
