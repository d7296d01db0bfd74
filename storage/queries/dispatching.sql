-- name: add_positions
-- A partition that is new begins with its first event.
INSERT INTO dispatch_positions SELECT partition_no, 0 FROM partitions ON CONFLICT (partition_no) DO NOTHING

-- name: partitions
-- Partitions of whose log there is more to read.
SELECT partition_no FROM dispatch_positions JOIN partitions USING (partition_no) WHERE alert_seq > seq
ORDER BY partition_no

-- name: lock_position
-- Nobody else makes deliveries of this partition until commit; none when somebody does.
SELECT seq FROM dispatch_positions WHERE partition_no = %(partition_no)s FOR UPDATE SKIP LOCKED

-- name: alert_seq
SELECT alert_seq FROM partitions WHERE partition_no = %(partition_no)s

-- name: move_position
UPDATE dispatch_positions SET seq = %(seq)s WHERE partition_no = %(partition_no)s

-- name: channels
-- The channels of some tenants that take events, held until commit so that none is deleted meanwhile.
SELECT
    channels.tenant_id, id, name, kind, event_kinds, severities, rule_ids,
    CASE WHEN site_ids IS NOT NULL THEN ARRAY(
        SELECT sites.name FROM sites WHERE sites.tenant_id = channels.tenant_id AND sites.id = ANY(site_ids)
    ) END AS sites,
    muted, security_alerts, quiet
FROM channels
WHERE channels.tenant_id = ANY(%(tenants)s::int4[]) AND enabled AND deleted_at IS NULL
ORDER BY channels.tenant_id, id
FOR NO KEY UPDATE OF channels

-- name: lock_channel
-- Before any of its deliveries is touched, so that nobody waits for anybody in a ring.
SELECT version, failures, failing_since FROM channels WHERE tenant_id = %(tenant_id)s AND id = %(channel_id)s FOR NO KEY UPDATE

-- name: waiting
-- How many deliveries wait in each channel, counted up to the limit.
SELECT tenant_id, id AS channel_id, (
    SELECT count(*) FROM (
        SELECT FROM deliveries
        WHERE deliveries.tenant_id = given.tenant_id AND channel_id = given.id AND state = 'pending'
        LIMIT %(limit)s
    ) AS a_few
) AS count
FROM unnest(%(tenant_id)s::int4[], %(channel_id)s::uuid[]) AS given (tenant_id, id)

-- name: open_digests
-- The digests that gather the events of quiet hours: those that are there and not taken up yet, and new ones.
INSERT INTO deliveries (tenant_id, channel_id, kind, state, quiet_until, collecting, created_at, queued_at, due_at)
SELECT tenant_id, channel_id, 'digest', 'pending', quiet_until, true, %(now)s, quiet_until, quiet_until
FROM unnest(%(tenant_id)s::int4[], %(channel_id)s::uuid[], %(quiet_until)s::timestamptz[])
    AS given (tenant_id, channel_id, quiet_until)
ON CONFLICT (tenant_id, channel_id, quiet_until) WHERE collecting DO UPDATE SET collecting = true
RETURNING tenant_id, channel_id, quiet_until, id, (
    SELECT count(*) FROM delivery_events
    WHERE delivery_events.tenant_id = deliveries.tenant_id AND delivery_id = deliveries.id
) AS events

-- name: leave_out
UPDATE deliveries SET left_out = left_out + given.events
FROM unnest(%(tenant_id)s::int4[], %(id)s::uuid[], %(events)s::int4[]) AS given (tenant_id, id, events)
WHERE deliveries.tenant_id = given.tenant_id AND deliveries.id = given.id

-- name: insert_deliveries
INSERT INTO deliveries (tenant_id, id, channel_id, kind, state, created_at, queued_at, due_at, ended_at, error)
SELECT tenant_id, id, channel_id, 'event', given.state, %(now)s, %(now)s, %(now)s,
    CASE WHEN given.state = 'dead' THEN %(now)s::timestamptz END, given.error
FROM unnest(%(tenant_id)s::int4[], %(id)s::uuid[], %(channel_id)s::uuid[], %(state)s::text[], %(error)s::text[])
    WITH ORDINALITY AS given (tenant_id, id, channel_id, state, error, n)
ORDER BY n

-- name: insert_events
INSERT INTO delivery_events (tenant_id, channel_id, partition_no, seq, delivery_id, message)
SELECT tenant_id, channel_id, %(partition_no)s, seq, delivery_id, message::jsonb
FROM unnest(
    %(tenant_id)s::int4[], %(channel_id)s::uuid[], %(seq)s::int8[], %(delivery_id)s::uuid[], %(message)s::text[]
) AS given (tenant_id, channel_id, seq, delivery_id, message)

-- name: wake
UPDATE channels SET next_due_at = least(next_due_at, due_at)
FROM unnest(%(tenant_id)s::int4[], %(channel_id)s::uuid[], %(due_at)s::timestamptz[])
    AS given (tenant_id, channel_id, due_at)
WHERE channels.tenant_id = given.tenant_id AND channels.id = given.channel_id

-- name: claim_channels
-- Channels with something due, which nobody else takes up until `busy_until`: a process that ends meanwhile leaves it.
UPDATE channels SET busy_until = %(busy_until)s
FROM (
    SELECT tenant_id, id FROM channels
    WHERE next_due_at <= %(now)s AND (busy_until IS NULL OR busy_until <= %(now)s) AND enabled
        AND NOT EXISTS (
            SELECT FROM tenants
            WHERE tenants.tenant_id = channels.tenant_id AND (placement IN ('sealed', 'moved') OR state <> 'active')
        )
    ORDER BY next_due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
) AS due
WHERE channels.tenant_id = due.tenant_id AND channels.id = due.id
RETURNING channels.tenant_id, channels.id, name, kind, url, recipients, secret, former_secret, former_secret_until,
    failures, failing_since, version

-- name: take_delivery
-- The channel's oldest delivery that is due. Its number of attempts says who holds it.
UPDATE deliveries SET attempts = attempts + 1, attempted_at = %(now)s, collecting = false
FROM (
    SELECT tenant_id, id FROM deliveries
    WHERE tenant_id = %(tenant_id)s AND channel_id = %(channel_id)s AND state = 'pending' AND due_at <= %(now)s
    ORDER BY delivery_no LIMIT 1 FOR UPDATE
) AS due
WHERE deliveries.tenant_id = due.tenant_id AND deliveries.id = due.id
RETURNING deliveries.id, kind, attempts, attempts - attempts_before AS tries, queued_at, quiet_until, created_at,
    left_out

-- name: keep
-- Nobody else takes the channel up until then.
UPDATE channels SET busy_until = %(busy_until)s WHERE tenant_id = %(tenant_id)s AND id = %(channel_id)s

-- name: messages
SELECT message FROM delivery_events WHERE tenant_id = %(tenant_id)s AND delivery_id = %(id)s
ORDER BY partition_no, seq

-- name: emails_since
-- Attempts to send e-mails of a tenant after a moment, at most `limit`, and when the first was.
SELECT count(*) AS count, min(attempted_at) AS first_at FROM (
    SELECT attempted_at FROM deliveries
    JOIN channels ON channels.tenant_id = deliveries.tenant_id AND channels.id = channel_id
    WHERE deliveries.tenant_id = %(tenant_id)s AND attempted_at > %(since)s AND channels.kind = 'email'
    ORDER BY attempted_at DESC LIMIT %(limit)s
) AS sent

-- name: end_attempt
-- What became of an attempt, unless somebody else has made one since.
UPDATE deliveries SET
    state = %(state)s, due_at = coalesce(%(due_at)s, due_at), status = %(status)s, answer = %(answer)s,
    error = %(error)s, ended_at = CASE WHEN %(state)s <> 'pending' THEN %(now)s::timestamptz END
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND attempts = %(attempts)s AND state = 'pending'
RETURNING id

-- name: release
-- The channel is free again, or rests until `busy_until`; what waits is looked at when it is due.
UPDATE channels SET
    busy_until = %(busy_until)s, failures = %(failures)s, failing_since = %(failing_since)s,
    enabled = enabled AND %(disabled_reason)s::text IS NULL,
    disabled_reason = coalesce(%(disabled_reason)s, disabled_reason),
    version = version + (%(disabled_reason)s::text IS NOT NULL)::integer,
    next_due_at = CASE WHEN deleted_at IS NULL THEN (
        SELECT min(due_at) FROM deliveries
        WHERE deliveries.tenant_id = channels.tenant_id AND channel_id = channels.id AND state = 'pending'
    ) END
WHERE tenant_id = %(tenant_id)s AND id = %(channel_id)s

-- name: expire
-- What was tried, or waited, for too long, also in channels that are off. A digest counts from the end of its quiet hours.
UPDATE deliveries SET state = 'dead', collecting = false, ended_at = %(now)s, error = coalesce(error, %(error)s)
FROM (
    SELECT tenant_id, id FROM deliveries WHERE state = 'pending' AND queued_at < %(before)s
    ORDER BY queued_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS old
WHERE deliveries.tenant_id = old.tenant_id AND deliveries.id = old.id
RETURNING deliveries.id

-- name: drop
DELETE FROM deliveries USING (
    SELECT tenant_id, id FROM deliveries WHERE ended_at < %(before)s ORDER BY ended_at LIMIT %(limit)s
) AS old
WHERE deliveries.tenant_id = old.tenant_id AND deliveries.id = old.id
RETURNING deliveries.id

-- name: oldest_due
-- Since when the delivery that waits longest has been due, in channels that are on.
SELECT min(due_at) AS due_at FROM (
    SELECT due_at FROM deliveries
    JOIN channels ON channels.tenant_id = deliveries.tenant_id AND channels.id = channel_id
    WHERE state = 'pending' AND enabled ORDER BY queued_at LIMIT 1000
) AS waiting
