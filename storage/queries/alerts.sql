-- name: get
-- A credential limited to sites sees alerts of packs that were there when they were raised.
SELECT * FROM shown_alerts
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
    AND (%(sites)s::text[] IS NULL OR site = ANY(%(sites)s::text[]))
    AND (%(security)s OR security_kind IS NULL)

-- name: page
-- Alerts, newest first. `{driven}` is what one index answers by itself, so that no more than `scanned` rows are read;
-- `{conditions}` is all else that was asked for.
SELECT shown_alerts.*
FROM (
    SELECT * FROM (
        SELECT * FROM alerts WHERE tenant_id = %(tenant_id)s{driven}
        ORDER BY {order} LIMIT %(scanned)s
    ) AS looked
    WHERE true{conditions}
    ORDER BY {order} LIMIT %(limit)s
) AS chosen
JOIN shown_alerts ON shown_alerts.tenant_id = chosen.tenant_id AND shown_alerts.id = chosen.id
ORDER BY {shown_order}

-- name: scan_end
-- Where a page that was cut short by `scanned` goes on; nothing when all was looked at.
SELECT raised_at, alert_no FROM alerts WHERE tenant_id = %(tenant_id)s{driven}
ORDER BY {order} OFFSET %(scanned)s - 1 LIMIT 1

-- name: history_looked
-- Events of alerts in from <= t < to, at most `scanned`, in the order {direction} of their time.
(
    SELECT looked.tenant_id, looked.partition_no, looked.seq, kind, reason, rule_time AS at, looked.value,
        NULL::text AS subject, NULL::text AS assignee, NULL::text AS comment, alerts.id AS alert_id
    FROM (
        SELECT * FROM rule_transitions
        WHERE tenant_id = %(tenant_id)s AND kind IN ('raised', 'cleared', 'late', 'provisional', 'withdrawn')
            AND rule_time >= %(from)s AND rule_time < %(to)s{after_rule_time}
        ORDER BY rule_time {direction}, partition_no {direction}, seq {direction} LIMIT %(scanned)s
    ) AS looked
    JOIN alerts USING (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset)
) UNION ALL (
    SELECT tenant_id, partition_no, seq, kind, NULL, at, NULL, subject, assignee, comment, alert_id
    FROM alert_actions
    WHERE tenant_id = %(tenant_id)s AND at >= %(from)s AND at < %(to)s{after_at}
    ORDER BY at {direction}, partition_no {direction}, seq {direction} LIMIT %(scanned)s
)
ORDER BY at {direction}, partition_no {direction}, seq {direction} LIMIT %(scanned)s

-- name: history
SELECT
    looked.partition_no, looked.seq, looked.at, looked.kind, looked.reason, looked.value, looked.subject,
    looked.assignee, looked.comment, alert_id AS alert, shown_alerts.rule_id, rule, pack, shown_alerts.source, site,
    severity, condition
FROM ({looked}) AS looked
JOIN shown_alerts ON shown_alerts.tenant_id = looked.tenant_id AND shown_alerts.id = alert_id
WHERE (%(kinds)s::text[] IS NULL OR looked.kind = ANY(%(kinds)s::text[]))
    AND (%(severities)s::text[] IS NULL OR severity = ANY(%(severities)s::text[]))
    AND (%(pack)s::text IS NULL OR pack = %(pack)s)
    AND (%(rule)s::uuid IS NULL OR shown_alerts.rule_id = %(rule)s::uuid)
    AND (%(site)s::text IS NULL OR site = %(site)s)
    AND (%(sites)s::text[] IS NULL OR site = ANY(%(sites)s::text[]))
    AND (%(security)s OR security_kind IS NULL)
ORDER BY at {direction}, partition_no {direction}, seq {direction} LIMIT %(limit)s

-- name: history_end
SELECT partition_no, seq, at FROM ({looked}) AS looked
ORDER BY at {direction}, partition_no {direction}, seq {direction} OFFSET %(scanned)s - 1 LIMIT 1

-- name: count_raised
-- How many alerts were raised in from <= t < to, counted up to the limit.
SELECT count(*) AS count FROM (
    SELECT FROM alerts WHERE tenant_id = %(tenant_id)s AND raised_at >= %(from)s AND raised_at < %(to)s
    LIMIT %(limit)s
) AS raised

-- name: statistics
-- What became of the alerts raised in from <= t < to: of all (`is_total`), and for each {key}.
WITH chosen AS (
    SELECT
        alerts.state, alerts.flapping, alerts.late, silence_id IS NOT NULL AS muted, acknowledged_at IS NOT NULL AS acknowledged,
        CASE WHEN alerts.state = 'cleared' AND NOT alerts.late
            THEN greatest(0, extract(epoch FROM cleared_at - raised_at)::float8) END AS clear_s,
        CASE WHEN acknowledged_at IS NOT NULL
            THEN greatest(0, extract(epoch FROM acknowledged_at - raised_at)::float8) END AS acknowledge_s,
        {key} AS key, {id}::text AS id
    FROM alerts
    JOIN rules USING (tenant_id, rule_no)
    LEFT JOIN packs ON packs.tenant_id = alerts.tenant_id AND packs.pack_id = alerts.pack_id
    LEFT JOIN tenures ON tenures.tenant_id = alerts.tenant_id AND tenures.tenure_no = alerts.tenure_no
    LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
    LEFT JOIN models ON models.tenant_id = tenures.tenant_id AND models.id = tenures.model_id
    WHERE alerts.tenant_id = %(tenant_id)s AND raised_at >= %(from)s AND raised_at < %(to)s
        AND (%(sites)s::text[] IS NULL OR sites.name = ANY(%(sites)s::text[]))
        AND (%(security)s OR alerts.security_kind IS NULL)
)
SELECT
    GROUPING(key) = 1 AS is_total, key, id, count(*) AS raised,
    count(*) FILTER (WHERE state = 'open') AS open,
    count(*) FILTER (WHERE state = 'cleared') AS cleared,
    count(*) FILTER (WHERE state = 'withdrawn') AS withdrawn,
    count(*) FILTER (WHERE acknowledged) AS acknowledged,
    count(*) FILTER (WHERE flapping) AS flapping,
    count(*) FILTER (WHERE muted) AS muted,
    count(*) FILTER (WHERE late) AS late,
    avg(acknowledge_s) AS acknowledge_mean_s,
    percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY acknowledge_s) AS acknowledge_s,
    avg(clear_s) AS clear_mean_s,
    percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY clear_s) AS clear_s
FROM chosen
GROUP BY GROUPING SETS ((), (key, id))
ORDER BY is_total DESC, raised DESC, key NULLS LAST, id LIMIT %(limit)s + 1

-- name: transitions
SELECT kind, reason, rule_time, value, flapping
FROM rule_transitions
WHERE tenant_id = %(tenant_id)s AND rule_no = %(rule_no)s AND rule_version = %(rule_version)s
    AND subject_pack = %(subject_pack)s AND subject_source = %(subject_source)s AND onset = %(onset)s
ORDER BY partition_no, seq LIMIT %(limit)s

-- name: actions
-- The newest, in their order.
SELECT kind, at, subject, assignee, comment FROM (
    SELECT seq, kind, at, subject, assignee, comment
    FROM alert_actions WHERE tenant_id = %(tenant_id)s AND alert_id = %(id)s
    ORDER BY seq DESC LIMIT %(limit)s
) AS newest ORDER BY seq
