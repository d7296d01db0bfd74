-- Days of raw readings are archived, and dropped as a whole later on; by the role that drops what was kept long enough.

ALTER TABLE installation ADD COLUMN archived_at timestamptz;
COMMENT ON COLUMN installation.archived_at IS 'When archived_before was last raised.';

-- Whole days, forward only, none of the last 7 whatever is asked, and none that isn't counted. Who calls it changes each
-- tenant's registry_version in the same transaction, for which no tenant may be added meanwhile.
CREATE FUNCTION archive_readings(before timestamptz, now timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' SET "TimeZone" TO 'UTC' AS $$
BEGIN
    IF before IS NULL OR before <> date_trunc('day', before) OR before > clock_timestamp() - interval '7 days'
        OR NOT coalesce(before <= (SELECT min(counted_before) FROM window_marks), false) THEN
        RAISE EXCEPTION 'readings before % can''t be archived: not a whole day, not 7 days old, or not counted', before
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

-- Partitions, or chunks, of readings that ended before a moment, the oldest first.
CREATE FUNCTION readings_parts(ended_before timestamptz) RETURNS TABLE (part text, starts timestamptz, ends timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = bpm, pg_temp SET "TimeZone" TO 'UTC' AS $$
BEGIN
    IF (SELECT hypertables FROM installation) THEN
        RETURN QUERY EXECUTE $chunks$
            SELECT format('%I.%I', chunk_schema, chunk_name), range_start, range_end
            FROM timescaledb_information.chunks
            WHERE hypertable_schema = 'bpm' AND hypertable_name = 'readings' AND range_end <= $1 ORDER BY range_end
        $chunks$ USING ended_before;
    ELSE
        RETURN QUERY
            SELECT format('bpm.%I', child.relname), bounds[1]::timestamptz, bounds[2]::timestamptz
            FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid, regexp_match(
                pg_get_expr(child.relpartbound, child.oid), $re$FROM \('([^']+)'\) TO \('([^']+)'\)$re$
            ) AS bounds
            WHERE inhparent = 'bpm.readings'::regclass AND bounds[2]::timestamptz <= ended_before
            ORDER BY bounds[2]::timestamptz;
    END IF;
END
$$;

-- Drops one part that ended a day before what is archived at least, and says so in the installation's log: quarter-hours behind that line may still be counted
-- again, and read readings of an hour before it. Gives its size in bytes, NULL when there is no such part (any more).
-- It waits for a lock on the whole table, and whoever comes later waits for it: so not for long.
CREATE FUNCTION drop_readings_part(part text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '500ms' SET "TimeZone" TO 'UTC' AS $$
DECLARE
    archived timestamptz;
    made_of_chunks boolean;
    timescale name;
    chosen record;
    size bigint;
BEGIN
    SELECT archived_before, hypertables INTO archived, made_of_chunks FROM installation;
    SELECT * INTO chosen FROM readings_parts('infinity') AS parts WHERE parts.part = drop_readings_part.part;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF chosen.ends > archived - interval '1 day' THEN
        RAISE EXCEPTION '% is not archived', part USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF made_of_chunks THEN
        SELECT nspname INTO timescale FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'timescaledb';
        EXECUTE format(
            'SELECT sum(total_bytes) FROM %I.chunks_detailed_size(''bpm.readings'') WHERE format(''%%I.%%I'', chunk_schema, chunk_name) = $1',
            timescale
        ) INTO size USING part;
        EXECUTE format('SELECT %I.drop_chunks(''bpm.readings'', older_than => $1, newer_than => $2)', timescale)
            USING chosen.ends, chosen.starts;
    ELSE
        size := pg_total_relation_size(part::regclass);
        EXECUTE format('DROP TABLE %s', part::regclass);
    END IF;
    INSERT INTO platform_log (subject, action, resource, resource_id, after, request_id)
    VALUES (
        'engine', 'readings.dropped', 'readings', part, jsonb_build_object(
            'from', chosen.starts, 'to', chosen.ends, 'size_bytes', coalesce(size, 0), 'archived_before', archived
        ), ''
    );
    RETURN coalesce(size, 0);
END
$$;

REVOKE ALL ON FUNCTION archive_readings(timestamptz, timestamptz), readings_parts(timestamptz), drop_readings_part(text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION archive_readings(timestamptz, timestamptz), readings_parts(timestamptz), drop_readings_part(text)
    TO bpm_retention;
GRANT SELECT ON installation, partitions, window_marks TO bpm_retention;
GRANT SELECT (tenant_id, registry_version), UPDATE (registry_version) ON tenants TO bpm_retention;
GRANT SELECT (starts) ON window_notes TO bpm_retention;
GRANT SELECT (starts, status) ON corrections TO bpm_retention;
GRANT SELECT (batch_no, partition_no, first_ts, last_ts) ON batches TO bpm_retention;
