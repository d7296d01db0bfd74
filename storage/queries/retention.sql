-- name: take_turn
SELECT pg_try_advisory_xact_lock(hashtext('bpm.readings_retention')) AS mine

-- name: marks
-- archived_before and counted_before are NULL while nothing is archived, or counted.
SELECT
    nullif(archived_before, '-infinity') AS archived_before,
    (SELECT min(counted_before) FROM window_marks) AS counted_before
FROM retention_classes WHERE class_no = %(class_no)s

-- name: clock_trusted_until
SELECT clock_trusted_until FROM installation

-- name: trust_clock
UPDATE installation SET clock_trusted_until = %(until)s WHERE clock_trusted_until < %(until)s::timestamptz

-- name: archive
SELECT archive_readings(%(class_no)s::smallint, %(before)s::timestamptz, %(now)s::timestamptz)

-- name: change_registries
-- Waits for the groups that were judged before, and makes later ones judge again: from the commit on no reading of an
-- archived day is stored. In the order in which groups lock tenants.
WITH locked AS (
    SELECT tenant_id FROM tenants WHERE retention_class = %(class_no)s ORDER BY tenant_id FOR NO KEY UPDATE
)
UPDATE tenants SET registry_version = changed_registry(registry_version) FROM locked
WHERE tenants.tenant_id = locked.tenant_id

-- name: note_archived
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, after, request_id)
SELECT
    tenant_id, 'engine', 'readings.archived', 'readings', 'retention',
    jsonb_build_object('before', %(before)s::timestamptz), ''
FROM tenants WHERE retention_class = %(class_no)s

-- name: due
-- Parts of some classes that ended so long before what is archived of their class, since so long at least.
SELECT part, starts, ends, class_no FROM readings_parts('infinity') JOIN retention_classes ON class_no = of_class
WHERE class_no = ANY(%(classes)s::smallint[]) AND archived_at <= %(archived_until)s::timestamptz
    AND ends <= archived_before - %(margin)s::interval
ORDER BY ends, class_no

-- name: waits_for
-- What must be done before a class's readings of starts <= t < ends may go: quarter-hours to be counted again that may need them,
-- corrections that may reach them, and saved states that don't hold them yet.
SELECT
    EXISTS (
        SELECT FROM window_notes JOIN tenants USING (tenant_id)
        WHERE retention_class = %(class_no)s AND starts > '-infinity'
            AND starts < %(ends)s::timestamptz + interval '1 hour'
    ) AS notes,
    EXISTS (
        SELECT FROM corrections JOIN tenants USING (tenant_id)
        WHERE retention_class = %(class_no)s AND status <> 'done'
            AND (starts IS NULL OR starts < %(ends)s::timestamptz)
    ) AS corrections,
    EXISTS (
        SELECT FROM batches JOIN partitions USING (partition_no) JOIN tenants USING (tenant_id)
        WHERE retention_class = %(class_no)s AND batch_no > applied_batch_no
            AND batch_no > (SELECT min(applied_batch_no) FROM partitions WHERE applied_batch_no < last_batch_no)
            AND first_ts < %(ends)s::timestamptz AND last_ts >= %(starts)s::timestamptz
    ) AS states

-- name: drop_part
SELECT drop_readings_part(%(part)s) AS size_bytes

-- name: drop_superseded
WITH dropped AS MATERIALIZED (SELECT tenant_id, dropped_before FROM tenants_readings_dropped_before())
DELETE FROM superseded_readings WHERE ctid = ANY(ARRAY(
    SELECT superseded_readings.ctid FROM superseded_readings JOIN dropped USING (tenant_id)
    WHERE ts < (SELECT max(dropped_before) FROM dropped) AND ts < dropped_before
    ORDER BY ts LIMIT %(rows_max)s
))

-- name: drop_receipts
-- Bodies, with all their parts, that no reading of the store and no saved state refers to any more. The newest numbers
-- stay: by them it is known when the last batch arrived.
WITH kept AS MATERIALIZED (
    SELECT tenant_id, dropped_before AS since FROM tenants_readings_dropped_before()
), old AS MATERIALIZED (
    SELECT batches.tenant_id, coalesce(batches.part_of, batches.id) AS body
    FROM batches JOIN partitions USING (partition_no) JOIN kept USING (tenant_id)
    WHERE arrived_at < least(%(before)s::timestamptz, (SELECT max(since) FROM kept)) AND arrived_at < since
        AND import_id IS NULL AND batch_no <= applied_batch_no
        AND batch_no < (SELECT max(last_batch_no) - 1000 FROM partitions)
        AND (last_ts IS NULL OR last_ts < since)
        AND NOT EXISTS (
            SELECT FROM batches AS others
            WHERE others.tenant_id = batches.tenant_id AND others.part_of = coalesce(batches.part_of, batches.id)
                AND (others.last_ts >= since OR others.arrived_at >= %(before)s)
        )
    LIMIT %(rows_max)s
), gone AS (
    -- By equal keys alone, since another join compares all with all where there are no statistics.
    SELECT tenant_id, body AS id FROM old
    UNION
    SELECT tenant_id, id FROM batches
    JOIN (SELECT tenant_id, body AS part_of FROM old) AS whole USING (tenant_id, part_of)
)
DELETE FROM batches USING gone WHERE batches.tenant_id = gone.tenant_id AND batches.id = gone.id

-- name: drop_submissions
DELETE FROM submissions WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM submissions WHERE arrived_at < %(before)s ORDER BY arrived_at LIMIT %(rows_max)s
))

-- name: overview
-- Each class by name, with its tenants and what was dropped of it.
SELECT
    name, keep_days, nullif(archived_before, '-infinity') AS archived_before,
    (SELECT count(*) FROM tenants WHERE retention_class = class_no) AS tenants, coalesce(parts_dropped, 0) AS parts_dropped,
    dropped_at
FROM retention_classes LEFT JOIN (
    SELECT
        coalesce(after ->> 'retention_class', 'standard') AS name, count(*) AS parts_dropped, max(at) AS dropped_at
    FROM platform_log WHERE action = 'readings.dropped' GROUP BY 1
) AS drops USING (name)
ORDER BY class_no

-- name: kept_since
-- From when on a tenant's requests are shown raw readings.
SELECT nullif(archived_before, '-infinity') AS archived_before FROM tenant_lines WHERE tenant_id = %(tenant_id)s

-- name: classes
SELECT class_no, name, keep_days, nullif(archived_before, '-infinity') AS archived_before FROM retention_classes
ORDER BY class_no

-- name: create_class
INSERT INTO retention_classes (name, keep_days) VALUES (%(name)s, %(keep_days)s)
RETURNING class_no, (SELECT hypertables FROM installation) AS hypertables

-- name: make_class_table
SELECT make_class_table(%(class_no)s::smallint)

-- name: remake_view
SELECT remake_readings_view()

-- name: set_class_days
UPDATE retention_classes SET keep_days = %(keep_days)s WHERE name = %(name)s

-- name: delete_class
DELETE FROM retention_classes WHERE name = %(name)s RETURNING class_no
