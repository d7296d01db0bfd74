-- Corrections: readings that were stored are deleted or put right. `readings` holds what is true now; what was true
-- before moves to `superseded_readings` and stays there.

ALTER TABLE batches ADD COLUMN first_ts timestamptz, ADD COLUMN last_ts timestamptz;
COMMENT ON COLUMN batches.first_ts IS 'Smallest and, in last_ts, largest time of the batch''s stored readings; NULL when it stored none.';

ALTER TABLE batches ADD COLUMN part_of uuid;
CREATE INDEX batches_parts ON batches (tenant_id, part_of) WHERE part_of IS NOT NULL;
COMMENT ON COLUMN batches.part_of IS
    'The batch of which this row is a part: a large one is committed in parts, and its own row, with their sums, comes last.';

ALTER TABLE imports ADD COLUMN undone_at timestamptz;
GRANT UPDATE (undone_at) ON imports TO bpm_app;
GRANT UPDATE ON imports TO bpm_ingest;

ALTER TABLE installation ADD COLUMN archived_before timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN installation.archived_before IS
    'Days before are archived: their raw readings take no more readings and no corrections.';

CREATE TABLE corrections (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    correction_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind text NOT NULL CHECK (kind IN ('delete_range', 'delete_batch', 'delete_import', 'correct')),
    pack_id integer,
    starts timestamptz,
    ends timestamptz,
    chosen boolean[] NOT NULL,
    thousandths integer[],
    batch_id uuid,
    import_id uuid,
    reason text NOT NULL,
    subject text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'running', 'done')),
    readings bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id)
);
CREATE INDEX corrections_unfinished ON corrections (correction_no) WHERE status <> 'done';
COMMENT ON TABLE corrections IS 'What was asked for, and how far the partition''s writer has come; this table is its queue.';
COMMENT ON COLUMN corrections.chosen IS 'Whether each measure, in the order of the table of measures, is corrected or deleted.';
COMMENT ON COLUMN corrections.thousandths IS 'The right values by measure, of a correction of one reading.';

CREATE TABLE superseded_readings (
    tenant_id integer NOT NULL REFERENCES tenants,
    pack_id integer NOT NULL,
    ts timestamptz NOT NULL,
    batch_no bigint NOT NULL,
    item_no integer NOT NULL,
    state_of_charge_pct real,
    state_of_health_pct real,
    temperature_c real,
    voltage_v real,
    current_a real,
    cell_voltage_min_v real,
    cell_voltage_max_v real,
    correction_no bigint NOT NULL REFERENCES corrections (correction_no),
    deleted boolean NOT NULL
);
CREATE INDEX superseded_readings_pack_ts ON superseded_readings (pack_id, ts);
CREATE INDEX superseded_readings_correction ON superseded_readings USING brin (correction_no) WITH (pages_per_range = 32);
CREATE INDEX superseded_readings_batch ON superseded_readings (batch_no);
COMMENT ON TABLE superseded_readings IS
    'Values that were stored once: deleted, or replaced by a correction. Kept for audit, and so that a re-send brings none back.';

CREATE TABLE corrected_packs (pack_id integer PRIMARY KEY);
COMMENT ON TABLE corrected_packs IS 'Packs with superseded readings: only theirs are looked up when readings arrive.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['corrections', 'superseded_readings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', protected);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', protected);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bpm_app '
            'USING (tenant_id = (SELECT nullif(current_setting(''bpm.tenant_id'', true), '''')::integer))',
            protected
        );
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON corrections TO bpm_app;
GRANT SELECT ON superseded_readings TO bpm_app;
GRANT SELECT, UPDATE ON corrections TO bpm_ingest;
GRANT SELECT, INSERT ON superseded_readings, corrected_packs TO bpm_ingest;
GRANT DELETE ON readings TO bpm_ingest;
