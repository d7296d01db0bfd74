-- How often closed quarter-hours of a day have changed, so that an answer about them can be kept while nothing has.

CREATE TABLE closed_changes (
    tenant_id integer NOT NULL REFERENCES tenants,
    day date NOT NULL,
    partition_no integer NOT NULL,
    changes bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, day, partition_no)
);
COMMENT ON TABLE closed_changes IS
    'Raised by the transaction that leaves notes, once for each UTC day of a tenant in which they lie. By partition, so that no writer waits for another.';

ALTER TABLE closed_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE closed_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON closed_changes TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

GRANT SELECT ON closed_changes TO bpm_app;
GRANT SELECT, INSERT, UPDATE ON closed_changes TO bpm_ingest;
