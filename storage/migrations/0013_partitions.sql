-- Readings may come from a topic, whose partitions have owners of their own; embedded, there is one partition.

ALTER TABLE installation
    ADD COLUMN partitions integer NOT NULL DEFAULT 1 CHECK (partitions > 0),
    ADD COLUMN topic text;
COMMENT ON COLUMN installation.partitions IS
    'Over so many partitions packs are spread: a pack belongs to its number modulo this. Fixed for a topic''s life.';
COMMENT ON COLUMN installation.topic IS
    'The topic that readings come from, as name/id; NULL while the engine''s own process takes them in.';

COMMENT ON TABLE window_marks IS
    'Quarter-hours that start before counted_before are stored, where they have readings. Written by the counter only, which counts all partitions: one row.';
GRANT SELECT (partition_no) ON partitions TO bpm_app;

ALTER TABLE batches ADD COLUMN parts integer;
COMMENT ON COLUMN batches.parts IS
    'Of a part that came by a topic: in how many parts its batch was sent. Such a batch has no row of its own, and is committed when all its parts are.';

CREATE TABLE submissions (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    subject text NOT NULL,
    body_hash bytea,
    arrived_at timestamptz NOT NULL,
    registry_version bigint NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX submissions_arrived ON submissions (arrived_at);
COMMENT ON TABLE submissions IS
    'Batches that are sent into the topic under a client''s key, or whose receipt somebody was told to come back for. A retry is sent as of the first arrival.';

ALTER TABLE submissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE submissions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON submissions TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));
GRANT SELECT ON submissions TO bpm_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON submissions TO bpm_ingest;

ALTER TABLE corrections ADD COLUMN parts_done integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN corrections.parts_done IS 'How many partitions have done their part.';

CREATE TABLE correction_parts (
    correction_no bigint NOT NULL REFERENCES corrections (correction_no),
    partition_no integer NOT NULL REFERENCES partitions,
    PRIMARY KEY (correction_no, partition_no)
);
COMMENT ON TABLE correction_parts IS 'Partitions that have done their part of a correction.';
GRANT SELECT, INSERT ON correction_parts TO bpm_ingest;
INSERT INTO correction_parts SELECT correction_no, 0 FROM corrections WHERE status = 'done';
UPDATE corrections SET parts_done = 1 WHERE status = 'done';

CREATE TABLE partition_reports (
    partition_no integer PRIMARY KEY REFERENCES partitions,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    reported_at timestamptz NOT NULL,
    log_end bigint NOT NULL,
    behind bigint NOT NULL,
    behind_s double precision NOT NULL,
    refused bigint NOT NULL,
    picture bytea NOT NULL
);
COMMENT ON TABLE partition_reports IS
    'What each partition''s owner last said of itself, and the live picture of its packs. One that is old is of an owner that is gone.';
GRANT SELECT, INSERT, UPDATE ON partition_reports TO bpm_ingest;

CREATE TABLE alert_clearances (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    partition_no integer NOT NULL REFERENCES partitions,
    alert_id uuid NOT NULL,
    rule_no integer NOT NULL,
    pack_id integer,
    onset timestamptz NOT NULL,
    subject text NOT NULL,
    request_id text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz,
    was_open boolean,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX alert_clearances_waiting ON alert_clearances (partition_no, asked_at) WHERE answered_at IS NULL;
COMMENT ON TABLE alert_clearances IS
    'Alerts that people clear, where the partition''s owner is another process: this table is its queue.';
ALTER TABLE alert_clearances ENABLE ROW LEVEL SECURITY;
ALTER TABLE alert_clearances FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON alert_clearances TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_clearances TO bpm_ingest;
