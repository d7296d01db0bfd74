-- What people do with alerts, in the same sequence as what rules do; and the log of both, as subscribers read it.

-- Equality finds an index where IS NOT DISTINCT FROM does not.
ALTER TABLE rule_transitions
    ADD COLUMN subject_pack integer GENERATED ALWAYS AS (coalesce(pack_id, -1)) STORED,
    ADD COLUMN subject_source text GENERATED ALWAYS AS (coalesce(source, '')) STORED;
DROP INDEX rule_transitions_of_alert;
CREATE INDEX rule_transitions_of_alert
    ON rule_transitions (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset);

ALTER TABLE alerts
    ADD COLUMN assigned_to text,
    ADD COLUMN subject_pack integer GENERATED ALWAYS AS (coalesce(pack_id, -1)) STORED,
    ADD COLUMN subject_source text GENERATED ALWAYS AS (coalesce(source, '')) STORED,
    DROP CONSTRAINT alerts_tenant_id_rule_no_rule_version_pack_id_source_onset_key,
    ADD CONSTRAINT alerts_identity UNIQUE (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset);
COMMENT ON COLUMN alerts.subject_pack IS 'pack_id, and -1 for what is about no pack.';
COMMENT ON COLUMN alerts.assigned_to IS 'Who is to see to it, by the name that was given.';

CREATE TABLE alert_actions (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    alert_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('acknowledged', 'assigned', 'commented')),
    subject text NOT NULL,
    assignee text,
    comment text,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, partition_no, seq),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES alerts (tenant_id, id),
    CHECK ((kind = 'commented') = (comment IS NOT NULL))
);
CREATE UNIQUE INDEX alert_actions_log ON alert_actions (partition_no, seq);
CREATE UNIQUE INDEX rule_transitions_log ON rule_transitions (partition_no, seq)
    WHERE kind IN ('raised', 'cleared', 'late', 'provisional', 'withdrawn');
CREATE INDEX alert_actions_of_alert ON alert_actions (tenant_id, alert_id, seq);
COMMENT ON TABLE alert_actions IS
    'What people did with alerts, in the order of the partition''s alert sequence. Never changed.';
COMMENT ON COLUMN alert_actions.id IS 'Given by the client, so that an action that is sent again counts once.';

ALTER TABLE alert_actions ENABLE ROW LEVEL SECURITY;
ALTER TABLE alert_actions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON alert_actions TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

-- An alert as it is shown, with the names that it refers to.
CREATE VIEW shown_alerts WITH (security_invoker = true) AS
SELECT
    alerts.tenant_id, alerts.id, alert_no, rules.id AS rule_id, rules.name AS rule, alerts.rule_no, rule_version,
    alerts.pack_id, packs.external_id AS pack, alerts.source, sites.name AS site, alerts.onset, raised_at, cleared_at,
    state, clear_reason, alerts.severity, value, flapping, late, provisional, silence_id, maintenance,
    rule_versions.condition, acknowledged_by, acknowledged_at, assigned_to, alerts.version,
    subject_pack, subject_source
FROM alerts
JOIN rules USING (tenant_id, rule_no)
JOIN rule_versions ON rule_versions.tenant_id = alerts.tenant_id AND rule_versions.rule_no = alerts.rule_no
    AND number = rule_version
LEFT JOIN packs ON packs.tenant_id = alerts.tenant_id AND packs.pack_id = alerts.pack_id
LEFT JOIN tenures ON tenures.tenant_id = alerts.tenant_id AND tenures.tenure_no = alerts.tenure_no
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id;

-- What subscribers are told: what rules and people did, by the same sequence.
CREATE VIEW alert_events WITH (security_invoker = true) AS
SELECT
    happened.tenant_id, happened.partition_no, happened.seq, kind, reason, rule_time AS at, happened.value, NULL::text AS subject,
    NULL::text AS assignee, NULL::text AS comment, alerts.id AS alert_id
FROM rule_transitions AS happened
JOIN alerts USING (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset)
WHERE kind IN ('raised', 'cleared', 'late', 'provisional', 'withdrawn')
UNION ALL
SELECT
    tenant_id, partition_no, seq, kind, NULL, at, NULL, subject, assignee, comment, alert_id
FROM alert_actions;
COMMENT ON VIEW alert_events IS
    'A partition''s events have no gap that a later commit fills: seq is taken under the partition''s row.';

GRANT SELECT ON alert_actions, shown_alerts, alert_events TO bpm_app;
GRANT SELECT, INSERT ON alert_actions TO bpm_ingest;
GRANT SELECT ON shown_alerts, alert_events TO bpm_ingest;
