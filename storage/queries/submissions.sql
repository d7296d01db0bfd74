-- name: enter
-- The hash of the body that was sent first under this id, by whichever process.
INSERT INTO submissions (tenant_id, id, subject, body_hash, arrived_at, registry_version, received, ignored_keys)
VALUES (
    %(tenant_id)s, %(id)s, %(subject)s, %(body_hash)s, %(arrived_at)s, %(registry_version)s, %(received)s,
    %(ignored_keys)s
)
ON CONFLICT (tenant_id, id) DO UPDATE SET registry_version = submissions.registry_version
RETURNING body_hash

-- name: promise
-- Where the messages of a batch stand of which somebody is told to come back; whether one was lost by now.
INSERT INTO submissions (
    tenant_id, id, subject, body_hash, arrived_at, registry_version, received, ignored_keys, topic, partition_nos,
    positions, sent_at
)
VALUES (
    %(tenant_id)s, %(id)s, %(subject)s, %(body_hash)s, %(arrived_at)s, %(registry_version)s, %(received)s,
    %(ignored_keys)s, %(topic)s, %(partition_nos)s, %(positions)s, clock_timestamp()
)
ON CONFLICT (tenant_id, id) DO UPDATE SET
    topic = excluded.topic, partition_nos = excluded.partition_nos, positions = excluded.positions,
    sent_at = excluded.sent_at
RETURNING is_lost(submissions) AS lost

-- name: parts
-- A batch's own row, or those of its parts that were committed.
SELECT
    id, received, accepted, duplicate, quarantined, late, conflicting, items, items_omitted, ignored_keys, subject,
    body_hash, arrived_at, parts
FROM batches
WHERE tenant_id = %(tenant_id)s AND (id = %(id)s OR part_of = %(id)s AND parts IS NOT NULL)
ORDER BY arrived_at, batch_no

-- name: pending
SELECT subject, arrived_at, received, ignored_keys, is_lost(submissions) AS lost FROM submissions
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: positions
SELECT partition_no, next FROM partitions

-- name: log
SELECT topic FROM installation

-- name: log_held
-- Whoever lets readings come from another topic waits, and then finds what is in this one.
SELECT topic FROM installation FOR SHARE

-- name: undone
SELECT true AS undone FROM imports WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND undone_at IS NOT NULL
