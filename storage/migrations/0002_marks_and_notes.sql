-- What the counting of windows and the running of rules rest on: who held a pack under one number, the place of a
-- reading in its batch, the marks between counted and open time, and notes of what changed behind them.

ALTER TABLE tenures ADD COLUMN tenure_no integer GENERATED ALWAYS AS IDENTITY UNIQUE;
COMMENT ON COLUMN tenures.tenure_no IS 'Short name of the tenure, never reused; windows are kept by it.';

ALTER TABLE readings ADD COLUMN item_no integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN readings.item_no IS 'Position of the reading in its batch: rules take a pack''s readings in order of arrival.';

ALTER TABLE installation ADD COLUMN gap_s_max integer NOT NULL DEFAULT 300 CHECK (gap_s_max BETWEEN 1 AND 900);
COMMENT ON COLUMN installation.gap_s_max IS
    'Readings further apart are not joined by a line. Stored windows depend on it, so it is fixed when the database is made.';

ALTER TABLE tenants ADD COLUMN rules_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN tenants.rules_version IS 'Grows with every change of rules and silences, so that the writer knows when to load them again.';
GRANT UPDATE (rules_version) ON tenants TO bpm_app;

ALTER TABLE partitions
    ADD COLUMN closed_before timestamptz NOT NULL DEFAULT date_bin('15 minutes', now(), '2000-01-01 00:00:00+00'),
    ADD COLUMN alert_seq bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN partitions.closed_before IS
    'Quarter-hours that start before are closed: a reading that touches one leaves a note. Moves forward only.';

CREATE TABLE window_marks (
    partition_no integer PRIMARY KEY REFERENCES partitions,
    counted_before timestamptz NOT NULL
);
COMMENT ON TABLE window_marks IS
    'Quarter-hours that start before counted_before are stored, where they have readings. Written by the counter only.';

CREATE TABLE window_notes (
    tenant_id integer NOT NULL REFERENCES tenants,
    pack_id integer NOT NULL,
    starts timestamptz NOT NULL,
    batch_no bigint NOT NULL,
    PRIMARY KEY (pack_id, starts, tenant_id, batch_no)
);
COMMENT ON TABLE window_notes IS
    'Closed quarter-hours that a batch touched and that must be counted again; one row a batch, so that no two writers share one.';

ALTER TABLE window_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE window_notes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON window_notes TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

GRANT SELECT ON window_notes, window_marks TO bpm_app;
GRANT INSERT ON window_notes TO bpm_app;
GRANT SELECT, INSERT, DELETE ON window_notes TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE ON window_marks TO bpm_ingest;
