-- Tenants, their records, readings and what ingest keeps beside them.
-- Runs as bpm_owner in schema bpm; the roles are made before (storage/migrate.py), since roles outlive a database.

CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_day date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date - 31,
    clock_confirmed_at timestamptz,
    clock_confirmed_batch_no bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN installation.first_day IS
    'First UTC day with a daily partition of readings; earlier times share monthly and yearly ones that end here.';
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE tenants (
    tenant_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    register_unknown_packs boolean NOT NULL DEFAULT false,
    registry_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tenants.registry_version IS
    'Grows with every change of a tenure or of a model''s limits, so that the writer knows a stale validation.';

CREATE TABLE sites (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    region text,
    zone text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE models (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    chemistry text NOT NULL,
    rated_capacity_ah double precision NOT NULL CHECK (rated_capacity_ah > 0),
    voltage_min_v double precision,
    voltage_max_v double precision,
    limits jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name),
    CHECK (voltage_min_v < voltage_max_v)
);
COMMENT ON COLUMN models.limits IS 'Plausible values by measure: {"temperature_c": {"minimum": -30, "maximum": 80}}.';

CREATE SEQUENCE pack_numbers AS integer MINVALUE 0;

CREATE TABLE packs (
    tenant_id integer NOT NULL REFERENCES tenants,
    pack_id integer NOT NULL DEFAULT nextval('pack_numbers'),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    external_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, pack_id),
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, external_id)
);
COMMENT ON COLUMN packs.pack_id IS
    'Dense number, global over tenants and never reused; a pack that changes hands keeps it under the new tenant.';

CREATE TABLE tenures (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    held_from timestamptz NOT NULL,
    held_to timestamptz NOT NULL DEFAULT 'infinity',
    site_id uuid,
    model_id uuid,
    PRIMARY KEY (tenant_id, pack_id, held_from),
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    FOREIGN KEY (tenant_id, model_id) REFERENCES models (tenant_id, id),
    CHECK (held_from < held_to)
);
CREATE INDEX tenures_by_pack ON tenures (pack_id, held_from);
CREATE UNIQUE INDEX tenures_one_open ON tenures (pack_id) WHERE held_to = 'infinity';
COMMENT ON INDEX tenures_one_open IS 'A pack has one holder at a time, of whichever tenant.';

CREATE TABLE imports (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    source text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE partitions (
    partition_no integer PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    next bigint NOT NULL DEFAULT 0,
    last_batch_no bigint NOT NULL DEFAULT 0,
    applied_batch_no bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE partitions IS 'One row, one writer: every transaction of the owner locks it and checks epoch and position.';
COMMENT ON COLUMN partitions.applied_batch_no IS 'pack_state holds the readings of batches up to this one.';

CREATE SEQUENCE batch_numbers;

CREATE TABLE batches (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    batch_no bigint NOT NULL,
    partition_no integer NOT NULL REFERENCES partitions,
    position bigint NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'import')),
    source text NOT NULL,
    import_id uuid,
    subject text NOT NULL,
    arrived_at timestamptz NOT NULL,
    body_hash bytea,
    received integer NOT NULL,
    accepted integer NOT NULL,
    duplicate integer NOT NULL,
    quarantined integer NOT NULL,
    late integer NOT NULL,
    conflicting integer NOT NULL,
    items jsonb NOT NULL,
    items_omitted integer NOT NULL,
    ignored_keys text[] NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id),
    CHECK (accepted + duplicate + quarantined = received)
);
CREATE INDEX batches_by_import ON batches (tenant_id, import_id) WHERE import_id IS NOT NULL;
CREATE INDEX batches_arrived ON batches USING brin (arrived_at);
CREATE INDEX batches_by_number ON batches USING brin (batch_no);
COMMENT ON TABLE batches IS 'One row a request: its receipt. id is the idempotency key, unique per tenant.';

CREATE TABLE readings (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    ts timestamptz NOT NULL,
    batch_no bigint NOT NULL,
    state_of_charge_pct real,
    state_of_health_pct real,
    temperature_c real,
    voltage_v real,
    current_a real,
    cell_voltage_min_v real,
    cell_voltage_max_v real
) PARTITION BY RANGE (ts);
CREATE INDEX readings_pack_ts ON readings (pack_id, ts);
CREATE INDEX readings_batch_no ON readings USING brin (batch_no) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX readings_ts ON readings USING brin (ts) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE readings IS
    'Rows of one pack and time carry different measures; identity (pack, time, measure) is kept by the partition''s writer.';

CREATE TABLE pack_state (
    pack_id integer PRIMARY KEY,
    watermark_ms bigint NOT NULL,
    latest_ts_ms bigint[] NOT NULL,
    latest integer[] NOT NULL
);
COMMENT ON TABLE pack_state IS 'Cache of what follows from readings, so that a restart need not read them all.';

CREATE TABLE quarantine (
    tenant_id integer NOT NULL REFERENCES tenants,
    source text NOT NULL,
    item_hash bytea NOT NULL,
    reason text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    field text,
    limit_value text,
    raw text NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, source, item_hash, reason),
    UNIQUE (tenant_id, id)
);

CREATE TABLE audit_log (
    tenant_id integer NOT NULL REFERENCES tenants,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    resource_id text NOT NULL,
    before jsonb,
    after jsonb,
    request_id text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Creates one partition of readings without blocking writers: made apart, then attached.
CREATE FUNCTION make_readings_partition(partition_name text, starts timestamptz, ends timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = bpm, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('bpm.make_readings_partition'));
    IF to_regclass(format('bpm.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE bpm.%I (LIKE bpm.readings INCLUDING ALL)', partition_name);
    EXECUTE format(
        'ALTER TABLE bpm.readings ATTACH PARTITION bpm.%I FOR VALUES FROM (%L) TO (%L)', partition_name, starts, ends
    );
END
$$;
REVOKE ALL ON FUNCTION make_readings_partition(text, timestamptz, timestamptz) FROM PUBLIC;

-- Tenants never see each other: every table with a tenant is held to the one set for the transaction.
DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY[
        'tenants', 'sites', 'models', 'packs', 'tenures', 'imports', 'batches', 'readings', 'quarantine', 'audit_log'
    ] LOOP
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

GRANT USAGE ON SCHEMA bpm TO bpm_app, bpm_ingest;
GRANT SELECT ON installation TO bpm_app, bpm_ingest;
GRANT SELECT ON tenants, sites, models, packs, tenures, imports, batches, readings, quarantine, audit_log TO bpm_app;
GRANT INSERT ON sites, models, packs, tenures, imports, audit_log TO bpm_app;
GRANT UPDATE ON sites, models, packs, tenures TO bpm_app;
GRANT UPDATE (registry_version) ON tenants TO bpm_app;
GRANT USAGE ON SEQUENCE pack_numbers TO bpm_app, bpm_ingest;

GRANT UPDATE ON installation TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE ON tenants, packs, tenures, partitions, pack_state, quarantine TO bpm_ingest;
GRANT SELECT ON sites, models, imports TO bpm_ingest;
GRANT SELECT, INSERT ON batches, readings, audit_log TO bpm_ingest;
GRANT DELETE ON pack_state TO bpm_ingest;
GRANT USAGE ON SEQUENCE batch_numbers TO bpm_ingest;
GRANT EXECUTE ON FUNCTION make_readings_partition(text, timestamptz, timestamptz) TO bpm_ingest;
