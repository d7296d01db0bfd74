-- name: positions_of_tenant
-- The number of the tenant's newest event or transition in each partition. What the same snapshot shows of alerts is
-- as of these numbers, because later ones are larger.
SELECT partition_no, greatest(0, transition.seq, action.seq) AS seq
FROM partitions
LEFT JOIN LATERAL (
    SELECT seq FROM rule_transitions AS one
    WHERE tenant_id = %(tenant_id)s AND one.partition_no = partitions.partition_no ORDER BY seq DESC LIMIT 1
) AS transition ON true
LEFT JOIN LATERAL (
    SELECT seq FROM alert_actions AS one
    WHERE tenant_id = %(tenant_id)s AND one.partition_no = partitions.partition_no ORDER BY seq DESC LIMIT 1
) AS action ON true
ORDER BY partition_no

-- name: positions
-- How far each partition's sequence has come.
SELECT partition_no, alert_seq AS seq FROM partitions ORDER BY partition_no

-- name: mark
SELECT left(id::text, 8) AS mark FROM installation

-- name: of_tenant
-- A tenant's events of one partition after a number, in their order, each with its alert as it is now.
SELECT happened.partition_no, happened.seq, happened.kind, happened.reason, happened.at, happened.value AS event_value,
    happened.subject, happened.assignee, happened.comment, shown_alerts.*
FROM (
    SELECT * FROM alert_events
    WHERE tenant_id = %(tenant_id)s AND partition_no = %(partition_no)s AND seq > %(after)s AND seq <= %(until)s
    ORDER BY seq LIMIT %(limit)s
) AS happened
JOIN shown_alerts ON shown_alerts.tenant_id = happened.tenant_id AND shown_alerts.id = happened.alert_id
ORDER BY happened.seq

-- name: of_all
-- The same of all tenants, for the one reader in a process.
SELECT happened.partition_no, happened.seq, happened.kind, happened.reason, happened.at, happened.value AS event_value,
    happened.subject, happened.assignee, happened.comment, shown_alerts.*
FROM (
    SELECT * FROM alert_events
    WHERE partition_no = %(partition_no)s AND seq > %(after)s AND seq <= %(until)s
    ORDER BY seq LIMIT %(limit)s
) AS happened
JOIN shown_alerts ON shown_alerts.tenant_id = happened.tenant_id AND shown_alerts.id = happened.alert_id
ORDER BY happened.seq
