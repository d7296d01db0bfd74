-- name: count
SELECT count(*) AS count FROM channels WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL

-- name: insert
INSERT INTO channels (
    tenant_id, id, name, kind, enabled, url, recipients, secret, event_kinds, severities, rule_ids, site_ids, muted,
    security_alerts, quiet, created_by, created_at
) VALUES (
    %(tenant_id)s, %(id)s, %(name)s, %(kind)s, %(enabled)s, %(url)s, %(recipients)s, %(secret)s, %(event_kinds)s,
    %(severities)s, %(rule_ids)s, %(site_ids)s, %(muted)s, %(security_alerts)s, %(quiet)s,
    %(created_by)s, %(created_at)s
)

-- name: list
-- Channels by name, never with their secrets.
SELECT
    id, name, kind, enabled, url, recipients, event_kinds, severities, rule_ids, site_ids,
    (
        SELECT array_agg(sites.name ORDER BY sites.name) FROM sites
        WHERE sites.tenant_id = channels.tenant_id AND sites.id = ANY(site_ids)
    ) AS sites,
    muted, security_alerts, quiet, created_by, created_at, disabled_reason, failures, failing_since, former_secret_until, version
FROM channels
WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL
    AND (%(id)s::uuid IS NULL OR id = %(id)s::uuid)
    AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: lock
SELECT version FROM channels WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND deleted_at IS NULL FOR UPDATE

-- name: update
-- One that is enabled begins anew: what made it fail counts no more.
UPDATE channels SET
    name = %(name)s, enabled = %(enabled)s, url = %(url)s, recipients = %(recipients)s, event_kinds = %(event_kinds)s,
    severities = %(severities)s, rule_ids = %(rule_ids)s, site_ids = %(site_ids)s, muted = %(muted)s,
    security_alerts = %(security_alerts)s, quiet = %(quiet)s,
    disabled_reason = CASE WHEN %(begins_anew)s THEN NULL ELSE disabled_reason END,
    failures = CASE WHEN %(begins_anew)s THEN 0 ELSE failures END,
    failing_since = CASE WHEN %(begins_anew)s THEN NULL ELSE failing_since END,
    busy_until = CASE WHEN %(begins_anew)s THEN NULL ELSE busy_until END,
    version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: hasten
-- What waits for its next attempt is due, so that it goes in its order; quiet hours go on.
UPDATE deliveries SET due_at = least(due_at, %(now)s::timestamptz)
WHERE tenant_id = %(tenant_id)s AND channel_id = %(id)s AND state = 'pending' AND NOT collecting

-- name: rotate
-- The secret that was signs too for a while, so that receivers can change over.
UPDATE channels SET
    secret = %(secret)s, former_secret = secret, former_secret_until = %(former_until)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND secret IS NOT NULL
RETURNING id

-- name: delete
UPDATE channels SET
    deleted_at = %(now)s, enabled = false, secret = CASE WHEN kind = 'webhook' THEN ''::bytea END,
    former_secret = NULL, former_secret_until = NULL, next_due_at = NULL, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: end_waiting
UPDATE deliveries SET state = 'dead', collecting = false, ended_at = %(now)s, error = 'the channel was deleted'
WHERE tenant_id = %(tenant_id)s AND channel_id = %(id)s AND state = 'pending'

-- name: known_rules
SELECT id FROM rules WHERE tenant_id = %(tenant_id)s AND id = ANY(%(rules)s::uuid[])

-- name: queue_test
INSERT INTO deliveries (tenant_id, id, channel_id, kind, state, created_at, queued_at, due_at)
VALUES (%(tenant_id)s, %(id)s, %(channel_id)s, 'test', 'pending', %(now)s, %(now)s, %(now)s)

-- name: waiting
SELECT count(*) AS count FROM (
    SELECT FROM deliveries WHERE tenant_id = %(tenant_id)s AND channel_id = %(id)s AND state = 'pending'
    LIMIT %(limit)s
) AS waiting

-- name: wake
-- Let the channel be looked at by `due`.
UPDATE channels SET next_due_at = least(next_due_at, %(due)s::timestamptz)
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
