-- name: can_be_made
-- The extension is there, and nothing has been written that would have to be moved.
SELECT
    EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
    AND NOT EXISTS (SELECT FROM partitions) AND NOT EXISTS (SELECT FROM batches)
    AND NOT EXISTS (SELECT FROM readings) AND NOT EXISTS (SELECT FROM quarters) AS can

-- name: make
-- readings and quarters anew, as hypertables of the same columns and indexes. TimescaleDB refuses columnstore under
-- row-level security, so the app gets no right on them.
CREATE TABLE made (LIKE readings INCLUDING DEFAULTS INCLUDING COMMENTS);
DROP TABLE readings;
ALTER TABLE made RENAME TO readings;
CREATE INDEX readings_pack_ts ON readings (pack_id, ts);
CREATE INDEX readings_batch_no ON readings USING brin (batch_no) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX readings_ts ON readings USING brin (ts) WITH (pages_per_range = 32, autosummarize = on);
GRANT SELECT, INSERT, DELETE ON readings TO bpm_ingest;

CREATE TABLE made (LIKE quarters INCLUDING DEFAULTS INCLUDING COMMENTS);
DROP TABLE quarters;
ALTER TABLE made RENAME TO quarters;
ALTER TABLE quarters ADD PRIMARY KEY (pack_id, starts, tenure_no);
GRANT SELECT, INSERT, DELETE ON quarters TO bpm_ingest;

CREATE OR REPLACE FUNCTION make_readings_partition(partition_name text, starts timestamptz, ends timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = bpm, pg_temp AS '';
CREATE OR REPLACE FUNCTION make_quarters_partition(month timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = bpm, pg_temp AS '';

-- One chunk that ended before a moment and lies in rows altogether goes into columns; the chunk, or NULL when none is
-- left. What was in columns before stays as it is: TimescaleDB rewrites it so that a transaction with an older snapshot
-- no longer finds its rows, and counting would store what it misses.
CREATE FUNCTION store_in_columns(class regclass, ended_before timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    found regclass;
BEGIN
    SELECT format('%I.%I', chunk_schema, chunk_name)::regclass INTO found
    FROM timescaledb_information.chunks
    WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = class AND range_end <= ended_before
        AND _timescaledb_functions.chunk_status(format('%I.%I', chunk_schema, chunk_name)::regclass) & 1 = 0
    ORDER BY range_end LIMIT 1;
    IF found IS NOT NULL THEN
        PERFORM {timescale}.compress_chunk(found);
    END IF;
    RETURN found::text;
END
$$;
REVOKE ALL ON FUNCTION store_in_columns(regclass, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION store_in_columns(regclass, timestamptz) TO bpm_ingest;
UPDATE installation SET hypertables = true

-- name: make_class
-- chunk: how long a chunk is.
SELECT {timescale}.create_hypertable(
    %(name)s::regclass, {timescale}.by_range(%(time)s::name, %(chunk)s::interval), create_default_indexes => false
)

-- name: make_view
CREATE VIEW bpm_tenant.{name} WITH (security_barrier) AS SELECT * FROM {name}
WHERE tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer);
GRANT SELECT ON bpm_tenant.{name} TO bpm_app

-- name: schema_of_extension
SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'timescaledb'

-- name: has_direct_compress
SELECT current_setting('timescaledb.enable_direct_compress_copy', true) IS NOT NULL AS has

-- name: compress_directly
SET LOCAL timescaledb.enable_direct_compress_copy = on

-- name: copy_as_usual
SET LOCAL timescaledb.enable_direct_compress_copy = off

-- name: decompress_without_limit
-- Corrections and erasures may reach more than the 100,000 rows at which TimescaleDB gives up; they have limits of
-- their own. On a server without it the setting says nothing.
SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0

-- name: store_in_columns
SELECT store_in_columns(%(name)s::regclass, %(ended_before)s::timestamptz) AS chunk

-- name: marks
SELECT
    hypertables, (SELECT min(counted_before) FROM window_marks) AS counted_before,
    ARRAY(SELECT class_no::int4 FROM retention_classes ORDER BY class_no) AS classes
FROM installation

-- name: take_turn
SELECT pg_try_advisory_xact_lock(hashtext('bpm.hypertables')) AS mine

-- name: installed
SELECT hypertables, (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS version FROM installation
