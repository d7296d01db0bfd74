-- name: list
-- Alerts, newest first. A credential limited to sites sees those of packs that were there when it was raised.
SELECT * FROM shown_alerts
WHERE tenant_id = %(tenant_id)s
    AND (%(id)s::uuid IS NULL OR id = %(id)s::uuid)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
    AND (%(pack)s::text IS NULL OR pack = %(pack)s)
    AND (%(rule)s::uuid IS NULL OR rule_id = %(rule)s::uuid)
    AND (%(after)s::bigint IS NULL OR alert_no < %(after)s)
    AND (%(sites)s::text[] IS NULL OR site = ANY(%(sites)s::text[]))
ORDER BY alert_no DESC LIMIT %(limit)s

-- name: transitions
SELECT kind, reason, rule_time, value, flapping
FROM rule_transitions
WHERE tenant_id = %(tenant_id)s AND rule_no = %(rule_no)s AND rule_version = %(rule_version)s
    AND subject_pack = %(subject_pack)s AND subject_source = %(subject_source)s AND onset = %(onset)s
ORDER BY partition_no, seq LIMIT %(limit)s

-- name: actions
SELECT kind, at, subject, assignee, comment
FROM alert_actions WHERE tenant_id = %(tenant_id)s AND alert_id = %(id)s
ORDER BY seq LIMIT %(limit)s
