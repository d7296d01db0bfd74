-- Channels that take alerts out of the building, what is to be delivered through them, and indexes of alert lists.

CREATE TABLE channels (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('webhook', 'email')),
    enabled boolean NOT NULL,
    url text,
    recipients text[],
    secret bytea,
    former_secret bytea,
    former_secret_until timestamptz,
    event_kinds text[] NOT NULL,
    severities text[],
    rule_ids uuid[],
    site_ids uuid[],
    muted boolean NOT NULL,
    quiet jsonb,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    disabled_reason text,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    busy_until timestamptz,
    next_due_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    CHECK ((kind = 'webhook') = (url IS NOT NULL) AND (kind = 'email') = (recipients IS NOT NULL)),
    CHECK ((kind = 'webhook') = (secret IS NOT NULL))
);
CREATE UNIQUE INDEX channels_name ON channels (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX channels_due ON channels (next_due_at) WHERE next_due_at IS NOT NULL;
COMMENT ON COLUMN channels.secret IS 'Encrypted by a key that is not in the database, and bound to this channel.';
COMMENT ON COLUMN channels.failures IS 'Attempts in a row that failed; failing_since is the time of the first.';
COMMENT ON COLUMN channels.busy_until IS
    'Nothing is taken up before: somebody sends, or the receiver is given a rest after it failed.';
COMMENT ON COLUMN channels.next_due_at IS 'When the first waiting delivery is due; NULL while nothing waits.';

CREATE TABLE deliveries (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    delivery_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    channel_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('event', 'digest', 'test')),
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    quiet_until timestamptz,
    collecting boolean NOT NULL DEFAULT false,
    left_out integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    queued_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    attempts_before integer NOT NULL DEFAULT 0,
    attempted_at timestamptz,
    ended_at timestamptz,
    status integer,
    answer text,
    error text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, channel_id) REFERENCES channels (tenant_id, id),
    CHECK ((kind = 'digest') = (quiet_until IS NOT NULL)),
    CHECK ((state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX deliveries_newest ON deliveries (tenant_id, delivery_no DESC);
CREATE INDEX deliveries_of_channel ON deliveries (tenant_id, channel_id, delivery_no DESC);
CREATE INDEX deliveries_of_state ON deliveries (tenant_id, state, delivery_no DESC);
CREATE INDEX deliveries_of_channel_state ON deliveries (tenant_id, channel_id, state, delivery_no);
CREATE INDEX deliveries_due ON deliveries (tenant_id, channel_id, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_waiting ON deliveries (queued_at) WHERE state = 'pending';
CREATE INDEX deliveries_attempted ON deliveries (tenant_id, attempted_at) WHERE attempted_at IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX deliveries_digest ON deliveries (tenant_id, channel_id, quiet_until) WHERE collecting;
COMMENT ON COLUMN deliveries.quiet_until IS 'End of the quiet hours whose events it gathers, until it is taken up.';
COMMENT ON COLUMN deliveries.left_out IS 'Events of a digest that are only counted, because it held enough.';
COMMENT ON COLUMN deliveries.attempts_before IS 'Attempts before it was replayed: they don''t count for how long it waits.';
COMMENT ON COLUMN deliveries.queued_at IS 'When it was first due, or replayed: from then on it is tried for so many hours.';

CREATE TABLE delivery_events (
    tenant_id integer NOT NULL,
    channel_id uuid NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    delivery_id uuid NOT NULL,
    message jsonb NOT NULL,
    PRIMARY KEY (tenant_id, channel_id, partition_no, seq),
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES deliveries (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX delivery_events_of_delivery ON delivery_events (tenant_id, delivery_id, partition_no, seq);
COMMENT ON TABLE delivery_events IS 'An event of the alert log goes through a channel once. message is what is said of it.';

CREATE TABLE dispatch_positions (
    partition_no integer PRIMARY KEY REFERENCES partitions,
    seq bigint NOT NULL
);
INSERT INTO dispatch_positions SELECT partition_no, alert_seq FROM partitions;
COMMENT ON TABLE dispatch_positions IS
    'How far deliveries have been made of each partition''s alert log; moved in the transaction that makes them.';

CREATE INDEX alerts_of_rule ON alerts (tenant_id, rule_no, alert_no DESC);
CREATE INDEX alerts_of_severity ON alerts (tenant_id, severity, alert_no DESC);
CREATE INDEX alerts_of_assignee ON alerts (tenant_id, assigned_to, alert_no DESC) WHERE assigned_to IS NOT NULL;
CREATE INDEX alerts_flapping ON alerts (tenant_id, alert_no DESC) WHERE flapping;
CREATE INDEX alerts_muted ON alerts (tenant_id, alert_no DESC) WHERE silence_id IS NOT NULL;
CREATE INDEX alerts_raised ON alerts (tenant_id, raised_at DESC, alert_no DESC);
CREATE INDEX rule_transitions_by_time ON rule_transitions (tenant_id, rule_time, partition_no, seq)
    WHERE kind IN ('raised', 'cleared', 'late', 'provisional', 'withdrawn');
CREATE INDEX alert_actions_by_time ON alert_actions (tenant_id, at, partition_no, seq);

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['channels', 'deliveries', 'delivery_events'] LOOP
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

GRANT SELECT, INSERT, UPDATE ON channels, deliveries TO bpm_app;
GRANT SELECT ON delivery_events TO bpm_app;
GRANT SELECT, UPDATE ON channels TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON deliveries TO bpm_ingest;
GRANT SELECT, INSERT, DELETE ON delivery_events TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE ON dispatch_positions TO bpm_ingest;
