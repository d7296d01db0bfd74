-- Readings are archived by a clock that is trusted, however far ahead a machine's clock was when a process started.

ALTER TABLE installation ADD COLUMN clock_trusted_until timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN installation.clock_trusted_until IS
    'What archives readings takes it to be no later than this. It moves at most twice as fast as monotonic clocks.';

UPDATE installation SET clock_trusted_until = least(
    clock_timestamp(),
    (SELECT max(arrived_at) FROM batches WHERE batch_no > (SELECT max(last_batch_no) - 1000 FROM partitions))
);

GRANT UPDATE (clock_trusted_until) ON installation TO bpm_retention;

CREATE OR REPLACE FUNCTION archive_readings(before timestamptz, now timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' SET "TimeZone" TO 'UTC' AS $$
BEGIN
    IF before IS NULL OR before <> date_trunc('day', before)
        OR before > least(clock_timestamp(), (SELECT clock_trusted_until FROM installation)) - interval '7 days'
        OR NOT coalesce(before <= (SELECT min(counted_before) FROM window_marks), false) THEN
        RAISE EXCEPTION 'readings before % can''t be archived: not a whole day, not 7 days old by a clock that is trusted, or not counted', before
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE;
    UPDATE installation SET archived_before = before, archived_at = now WHERE archived_before < before;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'readings before % are archived already', before USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO platform_log (subject, action, resource, resource_id, after, request_id)
    VALUES ('engine', 'readings.archived', 'readings', 'retention', jsonb_build_object('before', before), '');
END
$$;
