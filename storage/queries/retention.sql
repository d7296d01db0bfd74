-- name: take_turn
SELECT pg_try_advisory_xact_lock(hashtext('bpm.readings_retention')) AS mine

-- name: marks
-- archived_before and counted_before are NULL while nothing is archived, or counted.
SELECT
    nullif(archived_before, '-infinity') AS archived_before, archived_at,
    (SELECT min(counted_before) FROM window_marks) AS counted_before
FROM installation

-- name: clock_trusted_until
SELECT clock_trusted_until FROM installation

-- name: trust_clock
UPDATE installation SET clock_trusted_until = %(until)s WHERE clock_trusted_until < %(until)s::timestamptz

-- name: archive
SELECT archive_readings(%(before)s::timestamptz, %(now)s::timestamptz)

-- name: change_registries
-- Waits for the groups that were judged before, and makes later ones judge again: from the commit on no reading of an
-- archived day is stored. In the order in which groups lock tenants.
WITH locked AS (SELECT tenant_id FROM tenants ORDER BY tenant_id FOR NO KEY UPDATE)
UPDATE tenants SET registry_version = changed_registry(registry_version) FROM locked
WHERE tenants.tenant_id = locked.tenant_id

-- name: note_archived
INSERT INTO audit_log (tenant_id, subject, action, resource, resource_id, after, request_id)
SELECT
    tenant_id, 'engine', 'readings.archived', 'readings', 'retention',
    jsonb_build_object('before', %(before)s::timestamptz), ''
FROM tenants

-- name: parts
SELECT part, starts, ends FROM readings_parts(%(ended_before)s::timestamptz)

-- name: waits_for
-- What must be done before readings of starts <= t < ends may go: quarter-hours to be counted again that may need them,
-- corrections that may reach them, and saved states that don't hold them yet.
SELECT
    EXISTS (
        SELECT FROM window_notes WHERE starts > '-infinity' AND starts < %(ends)s::timestamptz + interval '1 hour'
    ) AS notes,
    EXISTS (
        SELECT FROM corrections WHERE status <> 'done' AND (starts IS NULL OR starts < %(ends)s::timestamptz)
    ) AS corrections,
    EXISTS (
        SELECT FROM batches JOIN partitions USING (partition_no)
        WHERE batch_no > applied_batch_no
            AND batch_no > (SELECT min(applied_batch_no) FROM partitions WHERE applied_batch_no < last_batch_no)
            AND first_ts < %(ends)s::timestamptz AND last_ts >= %(starts)s::timestamptz
    ) AS states

-- name: drop_part
SELECT drop_readings_part(%(part)s) AS size_bytes

-- name: overview
SELECT nullif(archived_before, '-infinity') AS archived_before, parts_dropped, dropped_at
FROM installation, (
    SELECT count(*) AS parts_dropped, max(at) AS dropped_at FROM platform_log WHERE action = 'readings.dropped'
) AS drops

-- name: kept_since
-- From when on requests are shown raw readings.
SELECT nullif(archived_before, '-infinity') AS archived_before FROM installation
