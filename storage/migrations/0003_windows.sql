-- Quarter-hours as counted from the readings (rules E13 and E14), days of them, and percentiles over packs.

CREATE TABLE quarters (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    starts timestamptz NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (pack_id, starts, tenure_no)
) PARTITION BY RANGE (starts);
COMMENT ON COLUMN quarters.record IS
    'Packed little-endian numbers, laid out as in docs/reference/windows.md: a year of a pack is read as one column.';

CREATE TABLE pack_days (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    zone text NOT NULL,
    day date NOT NULL,
    starts timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (pack_id, starts, tenure_no),
    CHECK (starts < ends)
);
CREATE INDEX pack_days_by_day ON pack_days (tenant_id, day);
COMMENT ON TABLE pack_days IS
    'Closed days in the zone of the tenure''s site, UTC without one, folded from quarters; right for starts and ends, whatever became of the zone.';

CREATE TABLE day_marks (
    zone text PRIMARY KEY,
    folded_before date NOT NULL
);
COMMENT ON TABLE day_marks IS 'Days of a zone before this one were folded when they closed. Written by the counter only.';

CREATE TABLE days_to_fold (
    tenant_id integer NOT NULL REFERENCES tenants,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (pack_id, tenure_no, day)
);
COMMENT ON TABLE days_to_fold IS 'Days of which a quarter-hour was counted again. Written and cleared by the counter only.';

CREATE TABLE group_days (
    tenant_id integer NOT NULL REFERENCES tenants,
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('all', 'site', 'model')),
    group_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    packs integer NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (tenant_id, kind, group_id, day)
);
COMMENT ON TABLE group_days IS
    'Percentiles over packs of the day''s least, mean and largest value of each measure. group_id is zero for all packs.';

CREATE TABLE groups_to_fold (
    tenant_id integer NOT NULL REFERENCES tenants,
    day date NOT NULL,
    PRIMARY KEY (tenant_id, day)
);
COMMENT ON TABLE groups_to_fold IS
    'Days of which a pack''s day was folded or dropped, so that group_days is behind. Written and cleared by the counter only.';

-- Creates one month of quarters without blocking readers and writers: made apart, then attached.
CREATE FUNCTION make_quarters_partition(month timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' SET timezone = 'UTC' AS $$
DECLARE
    starts timestamptz := date_trunc('month', month);
    partition_name text := to_char(starts, '"quarters_"YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bpm.make_quarters_partition'));
    IF to_regclass(format('bpm.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE bpm.%I (LIKE bpm.quarters INCLUDING ALL)', partition_name);
    EXECUTE format(
        'ALTER TABLE bpm.quarters ATTACH PARTITION bpm.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, starts, starts + interval '1 month'
    );
END
$$;
REVOKE ALL ON FUNCTION make_quarters_partition(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_quarters_partition(timestamptz) TO bpm_ingest;

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['quarters', 'pack_days', 'days_to_fold', 'group_days', 'groups_to_fold'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', protected);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', protected);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bpm_app '
            'USING (tenant_id = (SELECT nullif(current_setting(''bpm.tenant_id'', true), '''')::integer))',
            protected
        );
    END LOOP;
END
$$;

GRANT SELECT ON quarters, pack_days, days_to_fold, group_days, groups_to_fold TO bpm_app;
GRANT SELECT, INSERT, DELETE ON quarters, pack_days, days_to_fold, group_days, groups_to_fold TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE ON day_marks TO bpm_ingest;
