-- Readings that others publish one by one are gathered and sent on into the topic of readings. What was sent on twice,
-- because a worker ended in between, is known by where it came from.

CREATE TABLE source_positions (
    partition_no integer NOT NULL REFERENCES partitions,
    source text NOT NULL,
    next bigint NOT NULL,
    PRIMARY KEY (partition_no, source)
);
COMMENT ON TABLE source_positions IS
    'Up to where each partition''s owner has what came from a partition of another topic. source: name/id:partition:tenant.';
GRANT SELECT, INSERT, UPDATE ON source_positions TO bpm_ingest;
