-- Where there are hypertables: to put a chunk in columns waits for its writers, and those that come later wait behind it.
-- So not for long: it is tried again at the next look.
DO $$
BEGIN
    IF to_regprocedure('bpm.store_in_columns(regclass, timestamptz)') IS NOT NULL THEN
        ALTER FUNCTION store_in_columns(regclass, timestamptz) SET lock_timeout = '500ms';
    END IF;
END
$$;
