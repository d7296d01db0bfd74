-- Alert rules with their versions, silences, what became of them, and what the writer remembers for them.

CREATE TABLE rules (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    rule_no integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    name text NOT NULL,
    scope text NOT NULL CHECK (scope IN ('tenant', 'site', 'model', 'pack')),
    site_id uuid,
    model_id uuid,
    pack_id integer,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, rule_no),
    UNIQUE (tenant_id, name),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    FOREIGN KEY (tenant_id, model_id) REFERENCES models (tenant_id, id),
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id),
    CHECK (num_nonnulls(site_id, model_id, pack_id) = (scope <> 'tenant')::integer),
    CHECK ((scope = 'site') = (site_id IS NOT NULL) AND (scope = 'model') = (model_id IS NOT NULL))
);
COMMENT ON COLUMN rules.rule_no IS 'Short name of the rule, never reused; transitions, states and alerts are kept by it.';

CREATE TABLE rule_versions (
    tenant_id integer NOT NULL,
    rule_no integer NOT NULL,
    number integer NOT NULL,
    effective_from timestamptz NOT NULL,
    enabled boolean NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    condition jsonb NOT NULL,
    flap_raises_max integer NOT NULL,
    flap_window_s integer NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (tenant_id, rule_no, number),
    FOREIGN KEY (tenant_id, rule_no) REFERENCES rules (tenant_id, rule_no)
);
COMMENT ON COLUMN rule_versions.effective_from IS
    'Rule time from which the version applies: the engine''s clock after tenants.rules_version was raised.';

CREATE TABLE silences (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    silence_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind text NOT NULL CHECK (kind IN ('mute', 'maintenance')),
    pack_id integer,
    site_id uuid,
    rule_no integer,
    starts timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    reason text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    FOREIGN KEY (tenant_id, rule_no) REFERENCES rules (tenant_id, rule_no),
    CHECK (starts < ends)
);
COMMENT ON TABLE silences IS 'Alerts raised within, by rule time, are stored as muted. Rules go on running.';

CREATE TABLE rule_transitions (
    tenant_id integer NOT NULL REFERENCES tenants,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    rule_no integer NOT NULL,
    rule_version integer NOT NULL,
    pack_id integer,
    source text,
    kind text NOT NULL CHECK (kind IN ('pending', 'dropped', 'raised', 'cleared', 'late', 'provisional', 'withdrawn')),
    reason text NOT NULL CHECK (reason IN ('measured', 'superseded', 'disabled', 'out_of_scope', 'silent', 'by_hand')),
    rule_time timestamptz NOT NULL,
    onset timestamptz NOT NULL,
    value double precision,
    flapping boolean NOT NULL,
    tenure_no integer,
    batch_no bigint,
    PRIMARY KEY (tenant_id, partition_no, seq)
);
CREATE INDEX rule_transitions_of_alert ON rule_transitions (tenant_id, rule_no, rule_version, pack_id, onset);
COMMENT ON TABLE rule_transitions IS
    'Everything that happened under rules, in the order of the partition''s alert sequence. Never changed.';

CREATE TABLE alerts (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    alert_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    rule_no integer NOT NULL,
    rule_version integer NOT NULL,
    pack_id integer,
    source text,
    tenure_no integer,
    onset timestamptz NOT NULL,
    raised_at timestamptz NOT NULL,
    cleared_at timestamptz,
    state text NOT NULL CHECK (state IN ('open', 'cleared', 'withdrawn')),
    clear_reason text,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    value double precision,
    flapping boolean NOT NULL,
    late boolean NOT NULL,
    provisional boolean NOT NULL,
    silence_id uuid,
    maintenance boolean NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    acknowledged_by text,
    acknowledged_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, rule_no, rule_version, pack_id, source, onset)
);
CREATE INDEX alerts_newest ON alerts (tenant_id, alert_no DESC);
CREATE INDEX alerts_open ON alerts (tenant_id, alert_no DESC) WHERE state = 'open';
CREATE INDEX alerts_of_pack ON alerts (tenant_id, pack_id, alert_no DESC);
COMMENT ON TABLE alerts IS 'One row for each rule version, subject and onset. seq is that of its last transition.';
COMMENT ON COLUMN alerts.silence_id IS 'The silence that hides it: muted. Silences are never removed.';

CREATE TABLE rule_states (
    rule_no integer NOT NULL REFERENCES rules (rule_no),
    pack_id integer NOT NULL,
    source text NOT NULL,
    rule_version integer NOT NULL,
    status text NOT NULL CHECK (status IN ('normal', 'pending', 'raised', 'provisional')),
    flapping boolean NOT NULL,
    onset timestamptz,
    clear_since timestamptz,
    raises timestamptz[] NOT NULL,
    PRIMARY KEY (rule_no, pack_id, source)
);
COMMENT ON TABLE rule_states IS
    'Where rules stand: not normal, or raised so lately that they may flap. pack_id is -1 and source names it, or is empty, for what is about no pack.';

ALTER TABLE pack_state
    ADD COLUMN rule_tenant_id integer,
    ADD COLUMN rule_tenure_no integer,
    ADD COLUMN rule_clock_ms bigint,
    ADD COLUMN rule_last_ts_ms bigint[],
    ADD COLUMN rule_last integer[];
COMMENT ON COLUMN pack_state.rule_clock_ms IS
    'The rule clock, with whose readings moved it, and the last live values; NULL before the first live reading.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['rules', 'rule_versions', 'silences', 'rule_transitions', 'alerts'] LOOP
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

GRANT SELECT ON rules, rule_versions, silences, rule_transitions, alerts TO bpm_app;
GRANT INSERT ON rules, rule_versions, silences TO bpm_app;
GRANT UPDATE (name, version) ON rules TO bpm_app;
GRANT UPDATE (deleted_at) ON silences TO bpm_app;

GRANT SELECT ON rules, rule_versions, silences TO bpm_ingest;
GRANT SELECT, INSERT ON rule_transitions TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE ON alerts TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON rule_states TO bpm_ingest;
