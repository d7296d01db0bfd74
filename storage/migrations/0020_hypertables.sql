-- With TimescaleDB in a database that has no readings yet, readings and quarter-hours are hypertables; else they stay
-- partitioned as before. The roles, the schema and the extension are made or found before (storage/migrate.py).

ALTER TABLE installation ADD COLUMN hypertables boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN installation.hypertables IS
    'Whether readings and quarters are hypertables of TimescaleDB; decided once, when the database was made.';

-- Of a hypertable's chunks that end before a moment, compresses the oldest that isn't, or to which rows were added
-- since; its name, or NULL when there is none.
CREATE FUNCTION compress_chunk_before(hypertable text, moment timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    extension text;
    found regclass;
BEGIN
    IF NOT (SELECT hypertables FROM installation) THEN
        RETURN NULL;
    END IF;
    SELECT extnamespace::regnamespace::text INTO extension FROM pg_extension WHERE extname = 'timescaledb';
    EXECUTE $find$
        SELECT format('%I.%I', told.chunk_schema, told.chunk_name)::regclass
        FROM timescaledb_information.chunks AS told
        WHERE told.hypertable_schema = 'bpm' AND told.hypertable_name = $1 AND told.range_end <= $2
            AND (
                NOT told.is_compressed
                OR _timescaledb_functions.chunk_status(format('%I.%I', told.chunk_schema, told.chunk_name)::regclass)
                    & 10 <> 0
            )
        ORDER BY told.range_end LIMIT 1
    $find$ INTO found USING hypertable, moment;
    IF found IS NOT NULL THEN
        EXECUTE format('SELECT %s.compress_chunk($1)', extension) USING found;
    END IF;
    RETURN found::text;
END
$$;

-- Drops chunks of readings that end before a moment, and are archived: such days take no more readings, and stand in
-- the lake (rule E22). How many.
CREATE FUNCTION drop_archived_chunks(moment timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    extension text;
    dropped integer;
BEGIN
    IF NOT (SELECT hypertables AND isfinite(archived_before) FROM installation) THEN
        RETURN 0;
    END IF;
    SELECT extnamespace::regnamespace::text INTO extension FROM pg_extension WHERE extname = 'timescaledb';
    EXECUTE format(
        'SELECT count(*) FROM %s.drop_chunks(''bpm.readings'', older_than => least($1, (SELECT archived_before FROM installation)))',
        extension
    ) INTO dropped USING moment;
    RETURN dropped;
END
$$;
REVOKE ALL ON FUNCTION compress_chunk_before(text, timestamptz), drop_archived_chunks(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION compress_chunk_before(text, timestamptz), drop_archived_chunks(timestamptz) TO bpm_ingest;

DO $$
DECLARE
    extension text := (SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'timescaledb');
    protected text;
BEGIN
    IF extension IS NULL OR EXISTS (SELECT FROM pg_inherits WHERE inhparent IN ('readings'::regclass, 'quarters'::regclass)) THEN
        RETURN;
    END IF;
    UPDATE installation SET hypertables = true;
    FOREACH protected IN ARRAY ARRAY['readings', 'quarters'] LOOP
        EXECUTE format('ALTER TABLE %1$I RENAME TO partitioned_%1$I', protected);
        EXECUTE format('CREATE TABLE %1$I (LIKE partitioned_%1$I INCLUDING ALL)', protected);
        EXECUTE format('DROP TABLE partitioned_%I', protected);
        -- Columns can't be stored by column beside row-level security: requests read a view, and nothing else.
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I TO bpm_ingest', protected);
        EXECUTE format(
            'CREATE VIEW bpm_shown.%1$I WITH (security_barrier = true) AS SELECT * FROM bpm.%1$I '
            'WHERE tenant_id = (SELECT nullif(current_setting(''bpm.tenant_id'', true), '''')::integer)',
            protected
        );
        EXECUTE format('GRANT SELECT ON bpm_shown.%I TO bpm_app', protected);
    END LOOP;
    EXECUTE format(
        'SELECT %s.create_hypertable(''bpm.readings'', %s.by_range(''ts'', interval ''1 day''), create_default_indexes => false)',
        extension, extension
    );
    EXECUTE format(
        'SELECT %s.create_hypertable(''bpm.quarters'', %s.by_range(''starts'', interval ''30 days''), create_default_indexes => false)',
        extension, extension
    );
    ALTER TABLE readings SET (
        timescaledb.enable_columnstore, timescaledb.orderby = 'pack_id, ts', timescaledb.segmentby = '',
        timescaledb.sparse_index = 'minmax(batch_no)'
    );
    ALTER TABLE quarters SET (
        timescaledb.enable_columnstore, timescaledb.orderby = 'starts, tenure_no', timescaledb.segmentby = 'pack_id'
    );
    CREATE OR REPLACE FUNCTION make_readings_partition(partition_name text, starts timestamptz, ends timestamptz)
    RETURNS void LANGUAGE sql AS '';
    CREATE OR REPLACE FUNCTION make_quarters_partition(month timestamptz) RETURNS void LANGUAGE sql AS '';
END
$$;
