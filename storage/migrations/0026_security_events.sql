-- What was refused, counted by the second; and the buckets of rates that processes share.

CREATE TABLE security_events (
    tenant_id integer NOT NULL REFERENCES tenants,
    event_no bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('bad_credential', 'denied', 'not_found', 'rate_limited', 'threshold_exceeded')),
    subject text,
    address_prefix text,
    route text,
    times integer NOT NULL CHECK (times > 0),
    PRIMARY KEY (tenant_id, event_no)
);
CREATE INDEX security_events_at ON security_events USING brin (at);
COMMENT ON TABLE security_events IS 'One row for what was refused alike within a second: to whom, from which network, where.';
COMMENT ON COLUMN security_events.route IS 'NULL where more was refused within a second than is told apart.';

CREATE TABLE platform_security_events (
    event_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    address_prefix text,
    route text,
    times integer NOT NULL CHECK (times > 0)
);
CREATE INDEX platform_security_events_at ON platform_security_events USING brin (at);
COMMENT ON TABLE platform_security_events IS 'The same of those who have not shown whose they are: for who runs the installation.';

CREATE UNLOGGED TABLE rate_buckets (
    tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
    kind text NOT NULL,
    subject text NOT NULL,
    tokens double precision NOT NULL,
    granted double precision NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kind, subject)
);
CREATE INDEX rate_buckets_at ON rate_buckets (at);
COMMENT ON TABLE rate_buckets IS 'After a crash they are full again. granted is what the last lease took.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['security_events', 'rate_buckets'] LOOP
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

GRANT SELECT ON security_events TO bpm_app;
GRANT SELECT, INSERT, DELETE ON security_events, platform_security_events TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_buckets TO bpm_ingest;
