-- name: list
-- Alerts, newest first. A credential limited to sites sees those of packs that were there when it was raised.
SELECT
    alerts.id, alert_no, rules.id AS rule_id, rules.name AS rule, alerts.rule_no, rule_version, alerts.pack_id,
    packs.external_id AS pack, alerts.source, sites.name AS site, alerts.onset, raised_at, cleared_at, state,
    clear_reason, alerts.severity, value, flapping, late, provisional, silence_id, maintenance,
    rule_versions.condition, acknowledged_by, acknowledged_at, alerts.version
FROM alerts
JOIN rules USING (tenant_id, rule_no)
JOIN rule_versions ON rule_versions.tenant_id = alerts.tenant_id AND rule_versions.rule_no = alerts.rule_no
    AND number = rule_version
LEFT JOIN packs ON packs.tenant_id = alerts.tenant_id AND packs.pack_id = alerts.pack_id
LEFT JOIN tenures ON tenures.tenant_id = alerts.tenant_id AND tenures.tenure_no = alerts.tenure_no
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
WHERE alerts.tenant_id = %(tenant_id)s
    AND (%(id)s::uuid IS NULL OR alerts.id = %(id)s::uuid)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(severity)s::text IS NULL OR alerts.severity = %(severity)s)
    AND (%(pack)s::text IS NULL OR packs.external_id = %(pack)s)
    AND (%(rule)s::uuid IS NULL OR rules.id = %(rule)s::uuid)
    AND (%(after)s::bigint IS NULL OR alert_no < %(after)s)
    AND (%(sites)s::text[] IS NULL OR sites.name = ANY(%(sites)s::text[]))
ORDER BY alert_no DESC LIMIT %(limit)s

-- name: transitions
SELECT kind, reason, rule_time, value, flapping
FROM rule_transitions
WHERE tenant_id = %(tenant_id)s AND rule_no = %(rule_no)s AND rule_version = %(rule_version)s
    AND pack_id IS NOT DISTINCT FROM %(pack_id)s::integer AND source IS NOT DISTINCT FROM %(source)s::text
    AND onset = %(onset)s
ORDER BY partition_no, seq LIMIT %(limit)s
