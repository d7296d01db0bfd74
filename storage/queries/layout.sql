-- name: lock
SELECT partitions, topic FROM installation FOR UPDATE

-- name: lock_partitions
-- A group that is being committed is waited for; who wrote it is fenced off.
UPDATE partitions SET epoch = epoch + 1

-- name: begin
-- A new installation has no partition yet.
INSERT INTO partitions (partition_no) VALUES (0) ON CONFLICT DO NOTHING

-- name: add_partitions
-- All packs' readings up to here are those of the one partition before: its marks are those of all.
INSERT INTO partitions (partition_no, next, last_batch_no, applied_batch_no, closed_before)
SELECT number, first, last_batch_no, applied_batch_no, closed_before
FROM unnest(%(numbers)s::int4[], %(first)s::int8[]) AS given (number, first), partitions WHERE partition_no = 0
ON CONFLICT (partition_no) DO UPDATE SET next = excluded.next

-- name: pass_over
-- Whoever wrote before is fenced off.
UPDATE partitions SET next = %(goes_on_at)s, epoch = epoch + 1
WHERE partition_no = %(partition_no)s AND next = %(first)s
RETURNING next

-- name: note_lost
INSERT INTO lost_ranges (topic, partition_no, first_position, last_position)
VALUES (%(topic)s, %(partition_no)s, %(first)s, %(last)s)

-- name: note_left
-- What a topic had that wasn't committed, and that nobody reads any more.
INSERT INTO lost_ranges (topic, partition_no, first_position) SELECT %(topic)s, partition_no, next FROM partitions

-- name: adopt
UPDATE installation SET topic = %(topic)s, partitions = %(partitions)s
