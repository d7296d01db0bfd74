-- name: list
-- Deliveries, newest first, without what they say.
SELECT
    deliveries.id, delivery_no, channel_id, channels.name AS channel, deliveries.kind, state, quiet_until,
    deliveries.created_at, due_at, attempts, attempted_at, ended_at, status, answer, error,
    (
        SELECT count(*) FROM delivery_events
        WHERE delivery_events.tenant_id = deliveries.tenant_id AND delivery_id = deliveries.id
    ) AS events,
    left_out
FROM deliveries JOIN channels ON channels.tenant_id = deliveries.tenant_id AND channels.id = channel_id
WHERE deliveries.tenant_id = %(tenant_id)s
    AND (%(id)s::uuid IS NULL OR deliveries.id = %(id)s::uuid)
    AND (%(channel)s::uuid IS NULL OR channel_id = %(channel)s::uuid)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(after)s::bigint IS NULL OR delivery_no < %(after)s)
ORDER BY delivery_no DESC LIMIT %(limit)s

-- name: messages
SELECT message FROM delivery_events WHERE tenant_id = %(tenant_id)s AND delivery_id = %(id)s
ORDER BY partition_no, seq LIMIT %(limit)s

-- name: channel_of
SELECT channel_id FROM deliveries WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: replay
-- Under its own id, so that a receiver that has it already knows. What waits already is let alone.
UPDATE deliveries SET
    state = 'pending', collecting = false, queued_at = %(now)s, due_at = %(now)s, attempts_before = attempts,
    ended_at = NULL
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND state <> 'pending'

-- name: replay_many
-- Those made in from <= t < to, the oldest first, at most `limit`.
UPDATE deliveries SET
    state = 'pending', collecting = false, queued_at = %(now)s, due_at = %(now)s, attempts_before = attempts,
    ended_at = NULL
FROM (
    SELECT id FROM deliveries
    WHERE tenant_id = %(tenant_id)s AND channel_id = %(channel)s AND state = ANY(%(states)s::text[])
        AND created_at >= %(from)s AND created_at < %(to)s
    ORDER BY delivery_no LIMIT %(limit)s FOR UPDATE
) AS chosen
WHERE tenant_id = %(tenant_id)s AND deliveries.id = chosen.id
RETURNING deliveries.id
