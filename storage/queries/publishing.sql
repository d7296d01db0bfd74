-- name: add_positions
-- A partition that is new begins with its first event.
INSERT INTO alert_topic_positions SELECT partition_no, 0 FROM partitions ON CONFLICT (partition_no) DO NOTHING

-- name: partitions
-- Partitions of whose log there is more to publish.
SELECT partition_no FROM alert_topic_positions JOIN partitions USING (partition_no) WHERE alert_seq > seq
ORDER BY partition_no

-- name: take_turn
-- Nobody else publishes events of this partition until the turn or the session ends.
SELECT pg_try_advisory_lock(hashtext('bpm.alert_topic'), %(partition_no)s) AS mine

-- name: end_turn
SELECT pg_advisory_unlock(hashtext('bpm.alert_topic'), %(partition_no)s)

-- name: position
SELECT seq, alert_seq FROM alert_topic_positions JOIN partitions USING (partition_no)
WHERE partition_no = %(partition_no)s

-- name: move_position
-- Not when somebody else has moved it.
UPDATE alert_topic_positions SET seq = %(seq)s WHERE partition_no = %(partition_no)s AND seq = %(before)s

-- name: tenant_names
SELECT tenant_id, name FROM tenants WHERE tenant_id = ANY(%(tenants)s)
