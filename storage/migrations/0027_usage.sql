-- What a tenant used on each day, and what it may use at most.

CREATE TABLE ingest_days (
    tenant_id integer NOT NULL REFERENCES tenants,
    day date NOT NULL,
    partition_no integer NOT NULL,
    batches bigint NOT NULL,
    readings bigint NOT NULL,
    received_bytes bigint NOT NULL,
    PRIMARY KEY (tenant_id, day, partition_no)
);
COMMENT ON TABLE ingest_days IS
    'What was committed of a day''s arrivals, written in the transaction of the readings: counted exactly once. A row a partition, so that none waits for another.';
COMMENT ON COLUMN ingest_days.readings IS 'Rows that were stored: what was sent again, or set aside, counts nothing.';

CREATE TABLE request_days (
    tenant_id integer NOT NULL REFERENCES tenants,
    day date NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (tenant_id, day)
);
COMMENT ON TABLE request_days IS 'Requests that were allowed, counted in memory and added every few seconds.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['ingest_days', 'request_days'] LOOP
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
GRANT SELECT ON ingest_days, request_days TO bpm_app;
GRANT SELECT, INSERT, UPDATE ON ingest_days, request_days TO bpm_ingest;

ALTER TABLE tenants
    ADD COLUMN packs_max bigint CHECK (packs_max >= 0),
    ADD COLUMN day_readings_max bigint CHECK (day_readings_max >= 0),
    ADD COLUMN day_requests_max bigint CHECK (day_requests_max >= 0);
COMMENT ON COLUMN tenants.packs_max IS 'Quota: packs registered at one time; NULL for none.';
COMMENT ON COLUMN tenants.day_readings_max IS 'Quota: readings stored in a UTC day of their arrival; NULL for none.';
COMMENT ON COLUMN tenants.day_requests_max IS 'Quota: requests in a UTC day; NULL for none.';
