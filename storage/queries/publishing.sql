-- name: add_positions
-- A partition that is new begins with its first event.
INSERT INTO alert_topic_positions SELECT partition_no, 0 FROM partitions ON CONFLICT (partition_no) DO NOTHING

-- name: partitions
-- Partitions of whose log there is more to publish.
SELECT partition_no FROM alert_topic_positions JOIN partitions USING (partition_no) WHERE alert_seq > seq
ORDER BY partition_no

-- name: lock_position
-- Nobody else publishes events of this partition until commit; none when somebody does.
SELECT seq, alert_seq FROM alert_topic_positions JOIN partitions USING (partition_no)
WHERE partition_no = %(partition_no)s FOR UPDATE OF alert_topic_positions SKIP LOCKED

-- name: move_position
UPDATE alert_topic_positions SET seq = %(seq)s WHERE partition_no = %(partition_no)s

-- name: tenant_names
SELECT tenant_id, name FROM tenants WHERE tenant_id = ANY(%(tenants)s)
