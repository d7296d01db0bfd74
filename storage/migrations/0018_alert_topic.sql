-- Events of alerts are published into a topic, too.

CREATE TABLE alert_topic_positions (
    partition_no integer PRIMARY KEY REFERENCES partitions,
    seq bigint NOT NULL
);
INSERT INTO alert_topic_positions SELECT partition_no, alert_seq FROM partitions;
COMMENT ON TABLE alert_topic_positions IS
    'How far each partition''s alert log has been published; moved once the topic has the events.';
GRANT SELECT, INSERT, UPDATE ON alert_topic_positions TO bpm_ingest;
