-- What a topic has dropped before it was committed, and an operator accepted as lost, is told to whoever asks for the
-- receipts of its bodies.
CREATE TABLE lost_ranges (
    topic text NOT NULL,
    partition_no integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint,
    accepted_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (topic, partition_no, accepted_at)
);
COMMENT ON TABLE lost_ranges IS 'Positions of a topic, as name/id, that were lost before they were committed, and passed over.';
COMMENT ON COLUMN lost_ranges.last_position IS 'NULL where the topic ended before the first: all that it had been sent from there on.';
GRANT SELECT ON lost_ranges TO bpm_app, bpm_ingest;
GRANT INSERT ON lost_ranges TO bpm_ingest;

-- NULL of bodies that nobody was told to come back for, or that came before this.
ALTER TABLE submissions
    ADD COLUMN topic text, ADD COLUMN partition_nos integer[], ADD COLUMN positions bigint[], ADD COLUMN sent_at timestamptz;
COMMENT ON COLUMN submissions.positions IS 'Where each of the body''s messages stands in the topic, with its partition in partition_nos.';

CREATE FUNCTION is_lost(submissions) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM unnest($1.partition_nos, $1.positions) AS sent (partition_no, place)
        JOIN bpm.lost_ranges ON lost_ranges.topic = $1.topic AND lost_ranges.partition_no = sent.partition_no
        WHERE place >= first_position
            AND (place <= last_position OR last_position IS NULL AND $1.sent_at < accepted_at)
    )
$$;
COMMENT ON FUNCTION is_lost(submissions) IS 'Whether a message of the body stood where an operator accepted a loss.';
