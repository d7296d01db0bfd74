-- What is dropped after the readings that it is about: values that were superseded, and receipts. And what is noted of
-- bodies on their way through the topic, once no message of them is left there.

CREATE INDEX superseded_readings_ts ON superseded_readings (ts);

-- All readings before it were dropped; -infinity while none were. What is archived is dropped a day behind that line, and
-- a partition of a month no sooner than its last day.
CREATE FUNCTION readings_dropped_before() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = bpm, pg_temp AS $$
    SELECT least(archived_before - interval '1 day', (SELECT min(starts) FROM readings_parts('infinity')))
    FROM installation
$$;

-- So long ago by the database's clock and by one that is trusted.
CREATE FUNCTION days_ago(days integer) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = bpm, pg_temp AS $$
    SELECT least(clock_timestamp(), clock_trusted_until) - days * interval '1 day' FROM installation
$$;

REVOKE ALL ON FUNCTION readings_dropped_before(), days_ago(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION readings_dropped_before(), days_ago(integer) TO bpm_retention;

-- Whatever it is asked for, the role drops nothing that is still needed.
CREATE FUNCTION guard_superseded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE ts >= bpm.readings_dropped_before()) THEN
        RAISE EXCEPTION 'the readings beside these superseded ones are kept' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER guard AFTER DELETE ON superseded_readings REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT WHEN (current_user = 'bpm_retention') EXECUTE FUNCTION guard_superseded();

CREATE FUNCTION guard_receipts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before timestamptz := least(bpm.readings_dropped_before(), bpm.days_ago(7));
BEGIN
    IF EXISTS (SELECT FROM gone WHERE arrived_at >= before OR last_ts >= before OR import_id IS NOT NULL) THEN
        RAISE EXCEPTION 'these receipts are of an import, of the last 7 days, or of readings that are kept'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER guard AFTER DELETE ON batches REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT WHEN (current_user = 'bpm_retention') EXECUTE FUNCTION guard_receipts();

CREATE FUNCTION guard_submissions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE arrived_at >= bpm.days_ago(8)) THEN
        RAISE EXCEPTION 'messages of these bodies may be in the topic' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER guard AFTER DELETE ON submissions REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT WHEN (current_user = 'bpm_retention') EXECUTE FUNCTION guard_submissions();

GRANT SELECT (ctid, ts), DELETE ON superseded_readings TO bpm_retention;
GRANT SELECT (tenant_id, id, part_of, import_id, arrived_at), DELETE ON batches TO bpm_retention;
GRANT SELECT (ctid, arrived_at), DELETE ON submissions TO bpm_retention;
