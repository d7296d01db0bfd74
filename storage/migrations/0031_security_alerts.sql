-- Too many refusals are an alert: they are counted by the minute over all processes, against each tenant's thresholds.

CREATE TABLE security_counts (
    tenant_id integer NOT NULL REFERENCES tenants,
    kind text NOT NULL,
    minute timestamptz NOT NULL,
    times bigint NOT NULL,
    PRIMARY KEY (tenant_id, kind, minute)
);
CREATE INDEX security_counts_minute ON security_counts (minute);
COMMENT ON TABLE security_counts IS 'Refusals within a minute, of all processes. A few days of it are kept.';

CREATE TABLE security_thresholds (
    tenant_id integer PRIMARY KEY REFERENCES tenants,
    denied_per_minute_max integer CHECK (denied_per_minute_max > 0),
    not_found_per_minute_max integer CHECK (not_found_per_minute_max > 0),
    rate_limited_per_minute_max integer CHECK (rate_limited_per_minute_max > 0),
    quiet_s integer CHECK (quiet_s > 0),
    version integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE security_thresholds IS 'What a tenant has chosen; NULL is what the settings say.';

-- An alert belongs to a rule. These are made by the engine, one for each kind, and don't judge readings.
ALTER TABLE rules
    ADD COLUMN security_kind text CHECK (security_kind IS NULL OR scope = 'tenant'),
    ADD CONSTRAINT rules_security UNIQUE (tenant_id, security_kind),
    DROP CONSTRAINT rules_tenant_id_name_key;
CREATE UNIQUE INDEX rules_name ON rules (tenant_id, name) WHERE security_kind IS NULL;
COMMENT ON COLUMN rules.security_kind IS 'Of which refusals there are too many; NULL for rules that people make.';

ALTER TABLE alerts ADD COLUMN security_kind text CHECK (security_kind IS NULL OR pack_id IS NULL);
CREATE UNIQUE INDEX alerts_security_open ON alerts (tenant_id, security_kind)
    WHERE state = 'open' AND security_kind IS NOT NULL;
CREATE INDEX alerts_security ON alerts (tenant_id, security_kind, raised_at) WHERE security_kind IS NOT NULL;
COMMENT ON COLUMN alerts.security_kind IS 'That of its rule: such an alert is shown to those alone who may read security events.';

CREATE OR REPLACE VIEW shown_alerts WITH (security_invoker = true) AS
SELECT
    alerts.tenant_id, alerts.id, alert_no, rules.id AS rule_id, rules.name AS rule, alerts.rule_no, rule_version,
    alerts.pack_id, packs.external_id AS pack, alerts.source, sites.name AS site, alerts.onset, raised_at, cleared_at,
    state, clear_reason, alerts.severity, value, flapping, late, provisional, silence_id, maintenance,
    rule_versions.condition, acknowledged_by, acknowledged_at, assigned_to, alerts.version,
    subject_pack, subject_source, alerts.security_kind
FROM alerts
JOIN rules USING (tenant_id, rule_no)
JOIN rule_versions ON rule_versions.tenant_id = alerts.tenant_id AND rule_versions.rule_no = alerts.rule_no
    AND number = rule_version
LEFT JOIN packs ON packs.tenant_id = alerts.tenant_id AND packs.pack_id = alerts.pack_id
LEFT JOIN tenures ON tenures.tenant_id = alerts.tenant_id AND tenures.tenure_no = alerts.tenure_no
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id;

ALTER TABLE channels ADD COLUMN security_alerts boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN channels.security_alerts IS 'Whether it tells of them: only who may read security events sets it.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['security_counts', 'security_thresholds'] LOOP
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

GRANT SELECT, INSERT, UPDATE ON security_thresholds TO bpm_app;
GRANT SELECT, INSERT ON security_thresholds TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON security_counts TO bpm_ingest;
