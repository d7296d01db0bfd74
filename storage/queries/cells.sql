-- name: facts
-- What two installations must agree on, and where they are.
SELECT
    id::text, topic, partitions, gap_s_max, arrived_batch_no, arrived_seq, first_day, hypertables,
    (SELECT count(*) FROM partitions) AS partitions_made,
    (SELECT min(counted_before) FROM window_marks) AS counted_before
FROM installation

-- name: tenant
SELECT tenant_id, name, placement, cell, cell_url, arrived_from, state FROM tenants WHERE name = %(name)s

-- name: retention_class
-- A tenant's class of retention: what two cells must agree on.
SELECT retention_classes.name, keep_days, archived_before::text
FROM tenants JOIN retention_classes ON class_no = retention_class WHERE tenant_id = %(tenant)s

-- name: retention_class_named
SELECT class_no, keep_days, archived_before::text FROM retention_classes WHERE name = %(name)s

-- name: try_move_lock
SELECT pg_try_advisory_lock(hashtext('bpm.move'), hashtext(%(name)s)) AS locked

-- name: shared_packs
-- Packs that another tenant has had, or has now.
SELECT external_id AS pack FROM packs WHERE tenant_id = %(tenant)s AND (
    EXISTS (SELECT FROM tenures WHERE tenures.pack_id = packs.pack_id AND tenures.tenant_id <> %(tenant)s)
    OR EXISTS (SELECT FROM packs AS others WHERE others.pack_id = packs.pack_id AND others.tenant_id <> %(tenant)s)
) ORDER BY external_id LIMIT 20

-- name: leave
UPDATE tenants SET placement = 'leaving', cell = %(cell)s, cell_url = %(url)s
WHERE tenant_id = %(tenant)s AND placement = 'here'

-- name: seal
-- Waits for what is being committed of the tenant; afterwards nothing of it changes. Its rules are learnt anew: none.
UPDATE tenants SET placement = 'sealed', rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s AND placement = 'leaving'

-- name: moved
UPDATE tenants SET placement = 'moved' WHERE tenant_id = %(tenant)s AND placement = 'sealed'

-- name: stay
UPDATE tenants SET
    placement = 'here', cell = NULL, cell_url = NULL, rules_version = rules_version + (rules_version > 0)::int
WHERE tenant_id = %(tenant)s AND placement IN ('leaving', 'sealed')

-- name: positions
SELECT partition_no, next FROM partitions ORDER BY partition_no

-- name: unfinished
-- What has been asked and isn't done.
SELECT
    (SELECT count(*) FROM corrections WHERE tenant_id = %(tenant)s AND status <> 'done') AS corrections,
    (SELECT count(*) FROM alert_clearances WHERE tenant_id = %(tenant)s AND answered_at IS NULL) AS clearances

-- name: log_ends
SELECT partition_no, alert_seq FROM partitions ORDER BY partition_no

-- name: unsaved
-- Partitions that have readings of the tenant which the saved state of their packs doesn't hold yet.
SELECT partition_no FROM partitions, installation WHERE EXISTS (
    SELECT FROM readings
    WHERE batch_no > applied_batch_no AND tenant_id = %(tenant)s
        AND pack_id %% installation.partitions = partition_no
) OR EXISTS (
    SELECT FROM superseded_readings
    WHERE batch_no > applied_batch_no AND tenant_id = %(tenant)s
        AND pack_id %% installation.partitions = partition_no
)

-- name: unsent
-- Partitions of whose alert log something up to a number isn't made into deliveries, or published, yet.
SELECT given.partition_no
FROM unnest(%(partition_no)s::int4[], %(seq)s::int8[]) AS given (partition_no, seq)
LEFT JOIN dispatch_positions AS dispatched USING (partition_no)
LEFT JOIN alert_topic_positions AS published USING (partition_no)
WHERE given.seq > 0 AND (coalesce(dispatched.seq, 0) < given.seq OR coalesce(published.seq, 0) < given.seq)

-- name: blocks
-- Where the numbers of batches end, and those of each partition's alert log.
SELECT partition_no, alert_seq, (SELECT coalesce(max(last_batch_no), 0) FROM partitions) AS last_batch_no
FROM partitions ORDER BY partition_no

-- name: take_blocks
-- Numbers below all that are in use.
UPDATE installation SET arrived_batch_no = arrived_batch_no - %(batches)s, arrived_seq = arrived_seq - %(events)s
RETURNING arrived_batch_no + %(batches)s AS batch_no, arrived_seq + %(events)s AS seq

-- name: columns
-- Columns that are written, in their order, with their types.
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = to_regclass('bpm.' || %(table)s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum

-- name: days
SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date AS day FROM readings WHERE tenant_id = %(tenant)s

-- name: months
SELECT DISTINCT date_trunc('month', starts, 'UTC') AS month FROM quarters WHERE tenant_id = %(tenant)s

-- name: make_chunks
-- A row and away with it: so TimescaleDB makes a chunk, under a lock for which whoever needs a new one waits till commit.
INSERT INTO {readings} (tenant_id, pack_id, ts, batch_no, item_no)
SELECT -1, -1, %(day)s::timestamptz, 0, 0 WHERE NOT EXISTS (
    SELECT FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'bpm' AND hypertable_name = '{readings}' AND %(day)s >= range_start AND %(day)s < range_end
);
INSERT INTO quarters (tenant_id, pack_id, tenure_no, starts, record)
SELECT -1, -1, -1, %(day)s::timestamptz, '' WHERE NOT EXISTS (
    SELECT FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'bpm' AND hypertable_name = 'quarters' AND %(day)s >= range_start AND %(day)s < range_end
);
DELETE FROM {readings} WHERE pack_id = -1 AND ts = %(day)s::timestamptz;
DELETE FROM quarters WHERE pack_id = -1 AND starts = %(day)s::timestamptz

-- name: tenant_row
SELECT
    name, register_unknown_packs, registry_version, created_at, rules_version, key_aliases_version, packs_max,
    day_readings_max, day_requests_max, day_received_bytes_max,
    (SELECT retention_classes.name FROM retention_classes WHERE class_no = retention_class) AS retention_class
FROM tenants
WHERE tenant_id = %(tenant)s

-- name: arrive
INSERT INTO tenants (
    name, register_unknown_packs, registry_version, created_at, rules_version, key_aliases_version, packs_max,
    day_readings_max, day_requests_max, day_received_bytes_max, arrived_from, retention_class
) VALUES (
    %(name)s, %(register_unknown_packs)s, %(registry_version)s, %(created_at)s, %(rules_version)s,
    %(key_aliases_version)s, %(packs_max)s, %(day_readings_max)s, %(day_requests_max)s,
    %(day_received_bytes_max)s, %(arrived_from)s,
    (SELECT class_no FROM retention_classes WHERE retention_classes.name = %(retention_class)s)
) RETURNING tenant_id

-- name: note_days
-- Days that the source had not folded, or not from all that is counted here.
INSERT INTO days_to_fold (tenant_id, pack_id, tenure_no, day)
SELECT tenant_id, pack_id, tenure_no, day::date
FROM tenures, generate_series(%(folded_before)s::date, (now() AT TIME ZONE 'UTC')::date + 1, interval '1 day') AS day
WHERE tenant_id = %(to_tenant)s AND held_from < day + interval '2 days' AND held_to > day - interval '1 day'
ON CONFLICT DO NOTHING

-- name: note_groups
INSERT INTO groups_to_fold (tenant_id, day) SELECT DISTINCT tenant_id, day FROM days_to_fold
WHERE tenant_id = %(to_tenant)s
ON CONFLICT DO NOTHING

-- name: lock_partitions
SELECT partition_no FROM partitions ORDER BY partition_no FOR NO KEY UPDATE

-- name: tell_owners
UPDATE partitions SET arrivals = arrivals + 1

-- name: note_quarters
-- As a writer does (E15): every closed quarter-hour that a reading touches and that isn't stored as it was counted.
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
SELECT DISTINCT tenant_id, pack_id, date_bin('15 minutes', moment, '2000-01-01 00:00:00+00'), %(batch_no)s::int8
FROM (
    SELECT readings.tenant_id, readings.pack_id, moment
    FROM packs JOIN readings USING (pack_id), installation,
    LATERAL (VALUES (ts - gap_s_max * interval '1 second'), (ts), (ts + gap_s_max * interval '1 second')) AS near (moment)
    WHERE packs.tenant_id = %(to_tenant)s AND readings.tenant_id = %(to_tenant)s
        AND ts >= %(counted_before)s::timestamptz - interval '15 minutes'
) AS touched, installation
WHERE moment >= %(counted_before)s::timestamptz
    AND moment < (SELECT closed_before FROM partitions WHERE partition_no = pack_id %% installation.partitions)

-- name: lost_ranges
-- Of all topics: they have ids, and submissions say where their messages stood.
SELECT * FROM lost_ranges

-- name: put_lost_range
INSERT INTO lost_ranges (topic, partition_no, first_position, last_position, accepted_at)
VALUES (%(topic)s, %(partition_no)s, %(first_position)s, %(last_position)s, %(accepted_at)s) ON CONFLICT DO NOTHING

-- name: sealed_secrets
SELECT id, secret, former_secret FROM channels WHERE tenant_id = %(tenant)s AND secret IS NOT NULL

-- name: any_secret
SELECT tenant_id, id, secret FROM channels WHERE secret IS NOT NULL LIMIT 1

-- name: put_secrets
UPDATE channels SET secret = %(secret)s, former_secret = %(former_secret)s
WHERE tenant_id = %(to_tenant)s AND id = %(id)s

-- name: audit
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, after, request_id)
VALUES (%(tenant)s, 'installation', %(action)s, 'tenants', %(name)s, %(after)s, '')
