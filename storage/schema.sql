CREATE SCHEMA bpm;

ALTER SCHEMA bpm OWNER TO bpm_owner;

CREATE FUNCTION bpm.archive_readings(of_class smallint, before timestamp with time zone, now timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    SET lock_timeout TO '5s'
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
    class_name text;
BEGIN
    IF before IS NULL OR before <> date_trunc('day', before)
        OR before > least(clock_timestamp(), (SELECT clock_trusted_until FROM installation)) - interval '7 days'
        OR NOT coalesce(before <= (SELECT min(counted_before) FROM window_marks), false) THEN
        RAISE EXCEPTION 'readings before % can''t be archived: not a whole day, not 7 days old by a clock that is trusted, or not counted', before
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE;
    UPDATE retention_classes SET archived_before = before, archived_at = now
    WHERE class_no = of_class AND archived_before < before RETURNING name INTO class_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'readings before % are archived already', before USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO platform_log (subject, action, resource, resource_id, after, request_id)
    VALUES (
        'engine', 'readings.archived', 'readings', 'retention',
        jsonb_build_object('before', before, 'retention_class', class_name), ''
    );
END
$$;

ALTER FUNCTION bpm.archive_readings(of_class smallint, before timestamp with time zone, now timestamp with time zone) OWNER TO bpm_owner;

CREATE FUNCTION bpm.changed_registry(version bigint) RETURNS bigint
    LANGUAGE sql PARALLEL SAFE
    RETURN (((version >> 32) << 32) | (floor((random() * ('4294967296'::bigint)::double precision)))::bigint);

ALTER FUNCTION bpm.changed_registry(version bigint) OWNER TO bpm_owner;

COMMENT ON FUNCTION bpm.changed_registry(version bigint) IS 'The next registry_version of a tenant: the same upper half, another lower half.';

CREATE FUNCTION bpm.days_ago(days integer) RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    AS $$
    SELECT least(clock_timestamp(), clock_trusted_until) - days * interval '1 day' FROM installation
$$;

ALTER FUNCTION bpm.days_ago(days integer) OWNER TO bpm_owner;

CREATE FUNCTION bpm.drop_readings_part(part text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    SET lock_timeout TO '500ms'
    SET "TimeZone" TO 'UTC'
    AS $_$
DECLARE
    class retention_classes;
    class_table regclass;
    timescale name;
    chosen record;
    size bigint;
BEGIN
    SELECT * INTO chosen FROM readings_parts('infinity') AS parts WHERE parts.part = drop_readings_part.part;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO class FROM retention_classes WHERE class_no = chosen.of_class;
    IF chosen.ends > class.archived_before - interval '1 day' THEN
        RAISE EXCEPTION '% is not archived', part USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (SELECT hypertables FROM installation) THEN
        class_table := format('bpm.readings_class_%s', class.class_no);
        SELECT nspname INTO timescale FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'timescaledb';
        EXECUTE format(
            'SELECT sum(total_bytes) FROM %I.chunks_detailed_size($1) WHERE format(''%%I.%%I'', chunk_schema, chunk_name) = $2',
            timescale
        ) INTO size USING class_table, part;
        EXECUTE format('SELECT %I.drop_chunks($1, older_than => $2, newer_than => $3)', timescale)
            USING class_table, chosen.ends, chosen.starts;
    ELSE
        size := pg_total_relation_size(part::regclass);
        EXECUTE format('DROP TABLE %s', part::regclass);
    END IF;
    INSERT INTO platform_log (subject, action, resource, resource_id, after, request_id)
    VALUES (
        'engine', 'readings.dropped', 'readings', part, jsonb_build_object(
            'from', chosen.starts, 'to', chosen.ends, 'size_bytes', coalesce(size, 0),
            'archived_before', class.archived_before, 'retention_class', class.name
        ), ''
    );
    RETURN coalesce(size, 0);
END
$_$;

ALTER FUNCTION bpm.drop_readings_part(part text) OWNER TO bpm_owner;

CREATE FUNCTION bpm.guard_audit_log() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user IN ('bpm_retention', 'bpm_eraser') THEN
        IF TG_LEVEL = 'STATEMENT' THEN
            RETURN NULL;
        ELSIF current_user = 'bpm_retention' AND OLD.at < clock_timestamp() - interval '90 days' THEN
            RETURN OLD;
        ELSIF current_user = 'bpm_eraser' THEN
            -- Asked for alone: an expression is refused as a whole to whoever may not read its tables.
            IF EXISTS (
                SELECT FROM bpm.tenants WHERE tenant_id = OLD.tenant_id AND erasing_since IS NOT NULL
            ) THEN
                RETURN OLD;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

ALTER FUNCTION bpm.guard_audit_log() OWNER TO bpm_owner;

CREATE FUNCTION bpm.guard_receipts() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    last_days timestamptz := bpm.days_ago(7);
BEGIN
    IF EXISTS (
        SELECT FROM gone LEFT JOIN bpm.tenants_readings_dropped_before() AS dropped USING (tenant_id)
        WHERE import_id IS NOT NULL OR arrived_at >= least(coalesce(dropped_before, '-infinity'), last_days)
            OR last_ts >= least(dropped_before, last_days)
    ) THEN
        RAISE EXCEPTION 'these receipts are of an import, of the last 7 days, or of readings that are kept'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION bpm.guard_receipts() OWNER TO bpm_owner;

CREATE FUNCTION bpm.guard_submissions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE arrived_at >= bpm.days_ago(8)) THEN
        RAISE EXCEPTION 'messages of these bodies may be in the topic' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION bpm.guard_submissions() OWNER TO bpm_owner;

CREATE FUNCTION bpm.guard_superseded() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (
        SELECT FROM gone LEFT JOIN bpm.tenants_readings_dropped_before() AS dropped USING (tenant_id)
        WHERE ts >= coalesce(dropped_before, '-infinity')
    ) THEN
        RAISE EXCEPTION 'the readings beside these superseded ones are kept' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

ALTER FUNCTION bpm.guard_superseded() OWNER TO bpm_owner;

CREATE TABLE bpm.submissions (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    subject text NOT NULL,
    body_hash bytea,
    arrived_at timestamp with time zone NOT NULL,
    registry_version bigint NOT NULL,
    received integer DEFAULT 0 NOT NULL,
    ignored_keys text[] DEFAULT '{}'::text[] NOT NULL,
    topic text,
    partition_nos integer[],
    positions bigint[],
    sent_at timestamp with time zone
);

ALTER TABLE ONLY bpm.submissions FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.submissions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.submissions IS 'Batches that are sent into the topic under a client''s key, or whose receipt somebody was told to come back for. A retry is sent as of the first arrival.';

COMMENT ON COLUMN bpm.submissions.positions IS 'Where each of the body''s messages stands in the topic, with its partition in partition_nos.';

CREATE FUNCTION bpm.is_lost(bpm.submissions) RETURNS boolean
    LANGUAGE sql STABLE
    AS $_$
    SELECT EXISTS (
        SELECT FROM unnest($1.partition_nos, $1.positions) AS sent (partition_no, place)
        JOIN bpm.lost_ranges ON lost_ranges.topic = $1.topic AND lost_ranges.partition_no = sent.partition_no
        WHERE place >= first_position
            AND (place <= last_position OR last_position IS NULL AND $1.sent_at < accepted_at)
    )
$_$;

ALTER FUNCTION bpm.is_lost(bpm.submissions) OWNER TO bpm_owner;

COMMENT ON FUNCTION bpm.is_lost(bpm.submissions) IS 'Whether a message of the body stood where an operator accepted a loss.';

CREATE FUNCTION bpm.make_class_table(class_no smallint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'bpm', 'pg_temp'
    AS $$
DECLARE
    made text := format('readings_class_%s', class_no);
    is_hypertable boolean := (SELECT hypertables FROM installation);
    brin text := 'CREATE INDEX %I ON %I USING brin (%I) WITH (pages_per_range = 32, autosummarize = on)';
    granted record;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE readings_class_0 INCLUDING DEFAULTS INCLUDING COMMENTS)', made)
        || CASE WHEN is_hypertable THEN '' ELSE ' PARTITION BY RANGE (ts)' END;
    EXECUTE format('CREATE INDEX %I ON %I (pack_id, ts)', made || '_pack_ts', made);
    EXECUTE format(brin, made || '_batch_no', made, 'batch_no');
    EXECUTE format(brin, made || '_ts', made, 'ts');
    FOR granted IN
        SELECT grantee::regrole AS role, privilege_type AS privilege FROM pg_class, aclexplode(relacl)
        WHERE oid = 'readings_class_0'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', granted.privilege, made, granted.role);
    END LOOP;
    IF NOT is_hypertable THEN
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', made);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bpm_app '
            'USING (tenant_id = (SELECT nullif(current_setting(''bpm.tenant_id'', true), '''')::integer))',
            made
        );
    END IF;
END
$$;

ALTER FUNCTION bpm.make_class_table(class_no smallint) OWNER TO bpm_owner;

CREATE FUNCTION bpm.make_quarters_partition(month timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    SET lock_timeout TO '5s'
    SET "TimeZone" TO 'UTC'
    AS $$
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

ALTER FUNCTION bpm.make_quarters_partition(month timestamp with time zone) OWNER TO bpm_owner;

CREATE FUNCTION bpm.make_readings_partition(class_no smallint, partition_name text, starts timestamp with time zone, ends timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    SET lock_timeout TO '5s'
    AS $$
        DECLARE
            made_of text := format('readings_class_%s', class_no);
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtext('bpm.make_readings_partition'));
            IF to_regclass(format('bpm.%I', partition_name)) IS NOT NULL THEN
                RETURN;
            END IF;
            EXECUTE format('CREATE TABLE bpm.%I (LIKE bpm.%I INCLUDING ALL)', partition_name, made_of);
            EXECUTE format(
                'ALTER TABLE bpm.%I ATTACH PARTITION bpm.%I FOR VALUES FROM (%L) TO (%L)', made_of, partition_name, starts, ends
            );
        END
        $$;

ALTER FUNCTION bpm.make_readings_partition(class_no smallint, partition_name text, starts timestamp with time zone, ends timestamp with time zone) OWNER TO bpm_owner;

CREATE FUNCTION bpm.note_tenure_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END
$$;

ALTER FUNCTION bpm.note_tenure_change() OWNER TO bpm_owner;

CREATE FUNCTION bpm.pack_mark(id uuid) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((('x'::text || translate("left"((id)::text, 18), '-'::text, ''::text)))::bit(64))::bigint;

ALTER FUNCTION bpm.pack_mark(id uuid) OWNER TO bpm_owner;

COMMENT ON FUNCTION bpm.pack_mark(id uuid) IS 'The upper half of a pack''s id: no other pack has it, so it tells whose a number is.';

CREATE FUNCTION bpm.readings_dropped_before(of_class smallint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    AS $$
    SELECT least(
        archived_before - interval '1 day',
        (SELECT min(starts) FROM readings_parts('infinity') AS parts WHERE parts.of_class = class_no)
    )
    FROM retention_classes WHERE class_no = readings_dropped_before.of_class
$$;

ALTER FUNCTION bpm.readings_dropped_before(of_class smallint) OWNER TO bpm_owner;

CREATE FUNCTION bpm.readings_parts(ended_before timestamp with time zone) RETURNS TABLE(part text, starts timestamp with time zone, ends timestamp with time zone, of_class smallint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'bpm', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $_$
BEGIN
    IF (SELECT hypertables FROM installation) THEN
        RETURN QUERY EXECUTE $chunks$
            SELECT format('%I.%I', chunk_schema, chunk_name), range_start, range_end, class_no
            FROM timescaledb_information.chunks
            JOIN retention_classes ON hypertable_name = format('readings_class_%s', class_no)
            WHERE hypertable_schema = 'bpm' AND range_end <= $1 ORDER BY range_end, class_no
        $chunks$ USING ended_before;
    ELSE
        RETURN QUERY
            SELECT format('bpm.%I', child.relname), bounds[1]::timestamptz, bounds[2]::timestamptz, class_no
            FROM retention_classes
            JOIN pg_inherits ON inhparent = to_regclass(format('bpm.readings_class_%s', class_no))
            JOIN pg_class AS child ON child.oid = inhrelid, regexp_match(
                pg_get_expr(child.relpartbound, child.oid), $re$FROM \('([^']+)'\) TO \('([^']+)'\)$re$
            ) AS bounds
            WHERE bounds[2]::timestamptz <= ended_before
            ORDER BY bounds[2]::timestamptz, class_no;
    END IF;
END
$_$;

ALTER FUNCTION bpm.readings_parts(ended_before timestamp with time zone) OWNER TO bpm_owner;

CREATE FUNCTION bpm.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

ALTER FUNCTION bpm.refuse_change() OWNER TO bpm_owner;

CREATE FUNCTION bpm.remake_readings_view() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'bpm', 'pg_temp'
    AS $$
DECLARE
    columns text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'readings_class_0'::regclass AND attnum > 0 AND NOT attisdropped
    );
    is_checked text := (SELECT CASE WHEN hypertables THEN 'false' ELSE 'true' END FROM installation);
BEGIN
    EXECUTE format('CREATE OR REPLACE VIEW readings WITH (security_invoker = %s) AS ', is_checked) || (
        SELECT string_agg(format('SELECT %s FROM readings_class_%s', columns, class_no), ' UNION ALL ' ORDER BY class_no)
        FROM retention_classes
    );
END
$$;

ALTER FUNCTION bpm.remake_readings_view() OWNER TO bpm_owner;

CREATE TABLE bpm.sites (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    region text,
    zone text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL
);

ALTER TABLE ONLY bpm.sites FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.sites OWNER TO bpm_owner;

CREATE TABLE bpm.user_sites (
    tenant_id integer NOT NULL,
    user_id uuid NOT NULL,
    site_id uuid NOT NULL
);

ALTER TABLE ONLY bpm.user_sites FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.user_sites OWNER TO bpm_owner;

CREATE FUNCTION bpm.sites_of_user(of_tenant integer, of_user uuid) RETURNS text[]
    LANGUAGE sql STABLE
    RETURN ARRAY(SELECT sites.name FROM (bpm.user_sites JOIN bpm.sites ON (((sites.tenant_id = user_sites.tenant_id) AND (sites.id = user_sites.site_id)))) WHERE ((user_sites.tenant_id = sites_of_user.of_tenant) AND (user_sites.user_id = sites_of_user.of_user)) ORDER BY sites.name);

ALTER FUNCTION bpm.sites_of_user(of_tenant integer, of_user uuid) OWNER TO bpm_owner;

COMMENT ON FUNCTION bpm.sites_of_user(of_tenant integer, of_user uuid) IS 'Names of the sites to which a user is limited.';

CREATE FUNCTION bpm.tenants_readings_dropped_before() RETURNS TABLE(tenant_id integer, dropped_before timestamp with time zone)
    LANGUAGE sql STABLE
    SET search_path TO 'bpm', 'pg_temp'
    AS $$
    WITH classes AS MATERIALIZED (
        SELECT class_no, readings_dropped_before(class_no) AS dropped_before FROM retention_classes
    )
    SELECT tenant_id, dropped_before FROM tenants JOIN classes ON class_no = retention_class
$$;

ALTER FUNCTION bpm.tenants_readings_dropped_before() OWNER TO bpm_owner;

CREATE TABLE bpm.access_grants (
    tenant_id integer NOT NULL,
    grant_no bigint NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    subject text,
    roles text[] NOT NULL,
    reason text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    revoked_by text,
    CONSTRAINT access_grants_check CHECK ((ends_at > granted_at)),
    CONSTRAINT access_grants_check1 CHECK (((revoked_at IS NULL) = (revoked_by IS NULL)))
);

ALTER TABLE ONLY bpm.access_grants FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.access_grants OWNER TO bpm_owner;

COMMENT ON TABLE bpm.access_grants IS 'What a tenant lets operators of the installation do in it, until when and why.';

COMMENT ON COLUMN bpm.access_grants.subject IS 'The one operator for whom it is; NULL for all.';

ALTER TABLE bpm.access_grants ALTER COLUMN grant_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.access_grants_grant_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.alert_actions (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    alert_id uuid NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    assignee text,
    comment text,
    at timestamp with time zone NOT NULL,
    CONSTRAINT alert_actions_check CHECK (((kind = 'commented'::text) = (comment IS NOT NULL))),
    CONSTRAINT alert_actions_kind_check CHECK ((kind = ANY (ARRAY['acknowledged'::text, 'assigned'::text, 'commented'::text])))
);

ALTER TABLE ONLY bpm.alert_actions FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.alert_actions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.alert_actions IS 'What people did with alerts, in the order of the partition''s alert sequence. Never changed.';

COMMENT ON COLUMN bpm.alert_actions.id IS 'Given by the client, so that an action that is sent again counts once.';

CREATE TABLE bpm.alert_clearances (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    partition_no integer NOT NULL,
    alert_id uuid NOT NULL,
    rule_no integer NOT NULL,
    pack_id integer,
    onset timestamp with time zone NOT NULL,
    subject text NOT NULL,
    request_id text NOT NULL,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    answered_at timestamp with time zone,
    was_open boolean,
    client_address text
);

ALTER TABLE ONLY bpm.alert_clearances FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.alert_clearances OWNER TO bpm_owner;

COMMENT ON TABLE bpm.alert_clearances IS 'Alerts that people clear, where the partition''s owner is another process: this table is its queue.';

CREATE TABLE bpm.alerts (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    alert_no bigint NOT NULL,
    rule_no integer NOT NULL,
    rule_version integer NOT NULL,
    pack_id integer,
    source text,
    tenure_no integer,
    onset timestamp with time zone NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    cleared_at timestamp with time zone,
    state text NOT NULL,
    clear_reason text,
    severity text NOT NULL,
    value double precision,
    flapping boolean NOT NULL,
    late boolean NOT NULL,
    provisional boolean NOT NULL,
    silence_id uuid,
    maintenance boolean NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    acknowledged_by text,
    acknowledged_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    assigned_to text,
    subject_pack integer GENERATED ALWAYS AS (COALESCE(pack_id, '-1'::integer)) STORED,
    subject_source text GENERATED ALWAYS AS (COALESCE(source, ''::text)) STORED,
    security_kind text,
    CONSTRAINT alerts_check CHECK (((security_kind IS NULL) OR (pack_id IS NULL))),
    CONSTRAINT alerts_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text]))),
    CONSTRAINT alerts_state_check CHECK ((state = ANY (ARRAY['open'::text, 'cleared'::text, 'withdrawn'::text])))
);

ALTER TABLE ONLY bpm.alerts FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.alerts OWNER TO bpm_owner;

COMMENT ON TABLE bpm.alerts IS 'One row for each rule version, subject and onset. seq is that of its last transition.';

COMMENT ON COLUMN bpm.alerts.silence_id IS 'The silence that hides it: muted. Silences are never removed.';

COMMENT ON COLUMN bpm.alerts.assigned_to IS 'Who is to see to it, by the name that was given.';

COMMENT ON COLUMN bpm.alerts.subject_pack IS 'pack_id, and -1 for what is about no pack.';

COMMENT ON COLUMN bpm.alerts.security_kind IS 'That of its rule: such an alert is shown to those alone who may read security events.';

CREATE TABLE bpm.rule_transitions (
    tenant_id integer NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    rule_no integer NOT NULL,
    rule_version integer NOT NULL,
    pack_id integer,
    source text,
    kind text NOT NULL,
    reason text NOT NULL,
    rule_time timestamp with time zone NOT NULL,
    onset timestamp with time zone NOT NULL,
    value double precision,
    flapping boolean NOT NULL,
    tenure_no integer,
    batch_no bigint,
    subject_pack integer GENERATED ALWAYS AS (COALESCE(pack_id, '-1'::integer)) STORED,
    subject_source text GENERATED ALWAYS AS (COALESCE(source, ''::text)) STORED,
    CONSTRAINT rule_transitions_kind_check CHECK ((kind = ANY (ARRAY['pending'::text, 'dropped'::text, 'raised'::text, 'cleared'::text, 'late'::text, 'provisional'::text, 'withdrawn'::text]))),
    CONSTRAINT rule_transitions_reason_check CHECK ((reason = ANY (ARRAY['measured'::text, 'superseded'::text, 'disabled'::text, 'out_of_scope'::text, 'silent'::text, 'by_hand'::text])))
);

ALTER TABLE ONLY bpm.rule_transitions FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.rule_transitions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.rule_transitions IS 'Everything that happened under rules, in the order of the partition''s alert sequence. Never changed.';

CREATE VIEW bpm.alert_events WITH (security_invoker='true') AS
 SELECT happened.tenant_id,
    happened.partition_no,
    happened.seq,
    happened.kind,
    happened.reason,
    happened.rule_time AS at,
    happened.value,
    NULL::text AS subject,
    NULL::text AS assignee,
    NULL::text AS comment,
    alerts.id AS alert_id
   FROM (bpm.rule_transitions happened
     JOIN bpm.alerts USING (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset))
  WHERE (happened.kind = ANY (ARRAY['raised'::text, 'cleared'::text, 'late'::text, 'provisional'::text, 'withdrawn'::text]))
UNION ALL
 SELECT alert_actions.tenant_id,
    alert_actions.partition_no,
    alert_actions.seq,
    alert_actions.kind,
    NULL::text AS reason,
    alert_actions.at,
    NULL::double precision AS value,
    alert_actions.subject,
    alert_actions.assignee,
    alert_actions.comment,
    alert_actions.alert_id
   FROM bpm.alert_actions;

ALTER VIEW bpm.alert_events OWNER TO bpm_owner;

COMMENT ON VIEW bpm.alert_events IS 'A partition''s events have no gap that a later commit fills: seq is taken under the partition''s row.';

CREATE TABLE bpm.alert_topic_positions (
    partition_no integer NOT NULL,
    seq bigint NOT NULL
);

ALTER TABLE bpm.alert_topic_positions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.alert_topic_positions IS 'How far each partition''s alert log has been published; moved once the topic has the events.';

ALTER TABLE bpm.alerts ALTER COLUMN alert_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.alerts_alert_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.api_keys (
    tenant_id integer NOT NULL,
    key_id text NOT NULL,
    account_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    name text NOT NULL,
    roles text[],
    site_ids uuid[],
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT api_keys_key_hash_check CHECK ((length(key_hash) = 32)),
    CONSTRAINT api_keys_key_id_check CHECK ((key_id ~ '^[0-9A-Za-z]{12}$'::text))
);

ALTER TABLE ONLY bpm.api_keys FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.api_keys OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.api_keys.key_id IS 'Random, about 71 bits: one of its own, whatever the tenant.';

COMMENT ON COLUMN bpm.api_keys.key_hash IS 'SHA-256 of the whole key; its secret has 256 random bits.';

COMMENT ON COLUMN bpm.api_keys.roles IS 'Narrower than those of its account; NULL for all of them. So are sites.';

COMMENT ON COLUMN bpm.api_keys.last_used_at IS 'Coarse: written at most once in BPM_API_KEY_USED_S.';

CREATE TABLE bpm.audit_log (
    tenant_id integer NOT NULL,
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    subject text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    resource_id text NOT NULL,
    before jsonb,
    after jsonb,
    request_id text NOT NULL,
    client_address text,
    site text
);

ALTER TABLE ONLY bpm.audit_log FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.audit_log OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.audit_log.client_address IS 'Of the client that asked; NULL for what the engine or a command did.';

COMMENT ON COLUMN bpm.audit_log.site IS 'Name that the record''s site had; NULL for what belongs to no one site.';

ALTER TABLE bpm.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE bpm.batch_numbers
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE bpm.batch_numbers OWNER TO bpm_owner;

CREATE TABLE bpm.batches (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    batch_no bigint NOT NULL,
    partition_no integer NOT NULL,
    "position" bigint NOT NULL,
    mode text NOT NULL,
    source text NOT NULL,
    import_id uuid,
    subject text NOT NULL,
    arrived_at timestamp with time zone NOT NULL,
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
    first_ts timestamp with time zone,
    last_ts timestamp with time zone,
    part_of uuid,
    parts integer,
    CONSTRAINT batches_check CHECK ((((accepted + duplicate) + quarantined) = received)),
    CONSTRAINT batches_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'import'::text])))
);

ALTER TABLE ONLY bpm.batches FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.batches OWNER TO bpm_owner;

COMMENT ON TABLE bpm.batches IS 'One row a request: its receipt. id is the idempotency key, unique per tenant.';

COMMENT ON COLUMN bpm.batches.first_ts IS 'Smallest and, in last_ts, largest time of the batch''s stored readings; NULL when it stored none.';

COMMENT ON COLUMN bpm.batches.part_of IS 'The batch of which this row is a part: a large one is committed in parts, and its own row, with their sums, comes last.';

COMMENT ON COLUMN bpm.batches.parts IS 'Of a part that came by a topic: in how many parts its batch was sent. Such a batch has no row of its own, and is committed when all its parts are.';

CREATE TABLE bpm.channels (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    enabled boolean NOT NULL,
    url text,
    recipients text[],
    secret bytea,
    former_secret bytea,
    former_secret_until timestamp with time zone,
    event_kinds text[] NOT NULL,
    severities text[],
    rule_ids uuid[],
    site_ids uuid[],
    muted boolean NOT NULL,
    quiet jsonb,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    disabled_reason text,
    failures integer DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    busy_until timestamp with time zone,
    next_due_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    security_alerts boolean DEFAULT false NOT NULL,
    CONSTRAINT channels_check CHECK ((((kind = 'webhook'::text) = (url IS NOT NULL)) AND ((kind = 'email'::text) = (recipients IS NOT NULL)))),
    CONSTRAINT channels_check1 CHECK (((kind = 'webhook'::text) = (secret IS NOT NULL))),
    CONSTRAINT channels_kind_check CHECK ((kind = ANY (ARRAY['webhook'::text, 'email'::text])))
);

ALTER TABLE ONLY bpm.channels FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.channels OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.channels.secret IS 'Encrypted by a key that is not in the database, and bound to this channel.';

COMMENT ON COLUMN bpm.channels.failures IS 'Attempts in a row that failed; failing_since is the time of the first.';

COMMENT ON COLUMN bpm.channels.busy_until IS 'Nothing is taken up before: somebody sends, or the receiver is given a rest after it failed.';

COMMENT ON COLUMN bpm.channels.next_due_at IS 'When the first waiting delivery is due; NULL while nothing waits.';

COMMENT ON COLUMN bpm.channels.security_alerts IS 'Whether it tells of them: only who may read security events sets it.';

CREATE TABLE bpm.closed_changes (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    partition_no integer NOT NULL,
    changes bigint DEFAULT 1 NOT NULL
);

ALTER TABLE ONLY bpm.closed_changes FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.closed_changes OWNER TO bpm_owner;

COMMENT ON TABLE bpm.closed_changes IS 'Raised by the transaction that leaves notes, once for each UTC day of a tenant in which they lie. By partition, so that no writer waits for another.';

CREATE TABLE bpm.corrected_packs (
    pack_id integer NOT NULL
);

ALTER TABLE bpm.corrected_packs OWNER TO bpm_owner;

COMMENT ON TABLE bpm.corrected_packs IS 'Packs with superseded readings: only theirs are looked up when readings arrive.';

CREATE TABLE bpm.correction_parts (
    correction_no bigint NOT NULL,
    partition_no integer NOT NULL
);

ALTER TABLE bpm.correction_parts OWNER TO bpm_owner;

COMMENT ON TABLE bpm.correction_parts IS 'Partitions that have done their part of a correction.';

CREATE TABLE bpm.corrections (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    correction_no bigint NOT NULL,
    kind text NOT NULL,
    pack_id integer,
    starts timestamp with time zone,
    ends timestamp with time zone,
    chosen boolean[] NOT NULL,
    thousandths integer[],
    batch_id uuid,
    import_id uuid,
    reason text NOT NULL,
    subject text NOT NULL,
    requested_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status text DEFAULT 'waiting'::text NOT NULL,
    readings bigint DEFAULT 0 NOT NULL,
    finished_at timestamp with time zone,
    parts_done integer DEFAULT 0 NOT NULL,
    CONSTRAINT corrections_kind_check CHECK ((kind = ANY (ARRAY['delete_range'::text, 'delete_batch'::text, 'delete_import'::text, 'correct'::text]))),
    CONSTRAINT corrections_status_check CHECK ((status = ANY (ARRAY['waiting'::text, 'running'::text, 'done'::text])))
);

ALTER TABLE ONLY bpm.corrections FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.corrections OWNER TO bpm_owner;

COMMENT ON TABLE bpm.corrections IS 'What was asked for, and how far the partition''s writer has come; this table is its queue.';

COMMENT ON COLUMN bpm.corrections.chosen IS 'Whether each measure, in the order of the table of measures, is corrected or deleted.';

COMMENT ON COLUMN bpm.corrections.thousandths IS 'The right values by measure, of a correction of one reading.';

COMMENT ON COLUMN bpm.corrections.parts_done IS 'How many partitions have done their part.';

ALTER TABLE bpm.corrections ALTER COLUMN correction_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.corrections_correction_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.credential_epochs (
    tenant_id integer NOT NULL,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    raised_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY bpm.credential_epochs FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.credential_epochs OWNER TO bpm_owner;

COMMENT ON TABLE bpm.credential_epochs IS 'Access tokens of a subject or session with a lower epoch have ended; a row goes when none of them can live any more.';

CREATE SEQUENCE bpm.credential_epochs_epoch_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE bpm.credential_epochs_epoch_seq OWNER TO bpm_owner;

CREATE TABLE bpm.day_marks (
    zone text NOT NULL,
    folded_before date NOT NULL
);

ALTER TABLE bpm.day_marks OWNER TO bpm_owner;

COMMENT ON TABLE bpm.day_marks IS 'Days of a zone before this one were folded when they closed. Written by the counter only.';

CREATE TABLE bpm.days_to_fold (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    day date NOT NULL
);

ALTER TABLE ONLY bpm.days_to_fold FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.days_to_fold OWNER TO bpm_owner;

COMMENT ON TABLE bpm.days_to_fold IS 'Days of which a quarter-hour was counted again. Written and cleared by the counter only.';

CREATE TABLE bpm.deliveries (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    delivery_no bigint NOT NULL,
    channel_id uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    quiet_until timestamp with time zone,
    collecting boolean DEFAULT false NOT NULL,
    left_out integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    queued_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    attempts_before integer DEFAULT 0 NOT NULL,
    attempted_at timestamp with time zone,
    ended_at timestamp with time zone,
    status integer,
    answer text,
    error text,
    CONSTRAINT deliveries_check CHECK (((kind = 'digest'::text) = (quiet_until IS NOT NULL))),
    CONSTRAINT deliveries_check1 CHECK (((state = 'pending'::text) = (ended_at IS NULL))),
    CONSTRAINT deliveries_kind_check CHECK ((kind = ANY (ARRAY['event'::text, 'digest'::text, 'test'::text]))),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'dead'::text])))
);

ALTER TABLE ONLY bpm.deliveries FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.deliveries OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.deliveries.quiet_until IS 'End of the quiet hours whose events it gathers, until it is taken up.';

COMMENT ON COLUMN bpm.deliveries.left_out IS 'Events of a digest that are only counted, because it held enough.';

COMMENT ON COLUMN bpm.deliveries.queued_at IS 'When it was first due, or replayed: from then on it is tried for so many hours.';

COMMENT ON COLUMN bpm.deliveries.attempts_before IS 'Attempts before it was replayed: they don''t count for how long it waits.';

ALTER TABLE bpm.deliveries ALTER COLUMN delivery_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.deliveries_delivery_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.delivery_events (
    tenant_id integer NOT NULL,
    channel_id uuid NOT NULL,
    partition_no integer NOT NULL,
    seq bigint NOT NULL,
    delivery_id uuid NOT NULL,
    message jsonb NOT NULL
);

ALTER TABLE ONLY bpm.delivery_events FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.delivery_events OWNER TO bpm_owner;

COMMENT ON TABLE bpm.delivery_events IS 'An event of the alert log goes through a channel once. message is what is said of it.';

CREATE TABLE bpm.dispatch_positions (
    partition_no integer NOT NULL,
    seq bigint NOT NULL
);

ALTER TABLE bpm.dispatch_positions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.dispatch_positions IS 'How far deliveries have been made of each partition''s alert log; moved in the transaction that makes them.';

CREATE TABLE bpm.erasures (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_no integer NOT NULL,
    tenant_name text NOT NULL,
    tenant_made_at timestamp with time zone NOT NULL,
    asked_by text NOT NULL,
    began_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    erased_at timestamp with time zone,
    erased_rows jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE bpm.erasures OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.erasures.erased_rows IS 'Rows deleted of each table, written in the transactions that delete them.';

CREATE TABLE bpm.group_days (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    group_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    packs integer NOT NULL,
    record bytea NOT NULL,
    CONSTRAINT group_days_kind_check CHECK ((kind = ANY (ARRAY['all'::text, 'site'::text, 'model'::text])))
);

ALTER TABLE ONLY bpm.group_days FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.group_days OWNER TO bpm_owner;

COMMENT ON TABLE bpm.group_days IS 'Percentiles over packs of the day''s least, mean and largest value of each measure. group_id is zero for all packs.';

CREATE TABLE bpm.groups_to_fold (
    tenant_id integer NOT NULL,
    day date NOT NULL
);

ALTER TABLE ONLY bpm.groups_to_fold FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.groups_to_fold OWNER TO bpm_owner;

COMMENT ON TABLE bpm.groups_to_fold IS 'Days of which a pack''s day was folded or dropped, so that group_days is behind. Written and cleared by the counter only.';

CREATE TABLE bpm.imports (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    source text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    undone_at timestamp with time zone,
    expected bigint,
    CONSTRAINT imports_expected_check CHECK ((expected > 0))
);

ALTER TABLE ONLY bpm.imports FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.imports OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.imports.expected IS 'Readings that its sender said would come. NULL when it said nothing.';

CREATE TABLE bpm.ingest_days (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    partition_no integer NOT NULL,
    batches bigint NOT NULL,
    readings bigint NOT NULL,
    received_bytes bigint NOT NULL
);

ALTER TABLE ONLY bpm.ingest_days FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.ingest_days OWNER TO bpm_owner;

COMMENT ON TABLE bpm.ingest_days IS 'What was committed of a day''s arrivals, written in the transaction of the readings: counted exactly once. A row a partition, so that none waits for another.';

COMMENT ON COLUMN bpm.ingest_days.readings IS 'Rows that were stored: what was sent again, or set aside, counts nothing.';

CREATE TABLE bpm.installation (
    only_row boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    first_day date DEFAULT (((now() AT TIME ZONE 'UTC'::text))::date - 31) NOT NULL,
    clock_confirmed_at timestamp with time zone,
    clock_confirmed_batch_no bigint DEFAULT 0 NOT NULL,
    gap_s_max integer DEFAULT 300 NOT NULL,
    partitions integer DEFAULT 1 NOT NULL,
    topic text,
    arrived_batch_no bigint DEFAULT 0 NOT NULL,
    arrived_seq bigint DEFAULT 0 NOT NULL,
    hypertables boolean DEFAULT false NOT NULL,
    clock_trusted_until timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT installation_arrived_batch_no_check CHECK ((arrived_batch_no <= 0)),
    CONSTRAINT installation_arrived_seq_check CHECK ((arrived_seq <= 0)),
    CONSTRAINT installation_gap_s_max_check CHECK (((gap_s_max >= 1) AND (gap_s_max <= 900))),
    CONSTRAINT installation_only_row_check CHECK (only_row),
    CONSTRAINT installation_partitions_check CHECK ((partitions > 0))
);

ALTER TABLE bpm.installation OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.installation.first_day IS 'First UTC day with a daily partition of readings; earlier times share monthly and yearly ones that end here.';

COMMENT ON COLUMN bpm.installation.gap_s_max IS 'Readings further apart are not joined by a line. Stored windows depend on it, so it is fixed when the database is made.';

COMMENT ON COLUMN bpm.installation.partitions IS 'Over so many partitions packs are spread: a pack belongs to its number modulo this. Fixed for a topic''s life.';

COMMENT ON COLUMN bpm.installation.topic IS 'The topic that readings come from, as name/id; NULL while the engine''s own process takes them in.';

COMMENT ON COLUMN bpm.installation.arrived_batch_no IS 'Batches that arrived with tenants from other cells have numbers from here to -1: before all that were ever given here.';

COMMENT ON COLUMN bpm.installation.arrived_seq IS 'The same of the numbers in the alert log.';

COMMENT ON COLUMN bpm.installation.hypertables IS 'readings and quarters are hypertables, which the app reads through views in the schema bpm_tenant. Fixed when the database is made.';

COMMENT ON COLUMN bpm.installation.clock_trusted_until IS 'What archives readings takes it to be no later than this. It moves at most twice as fast as monotonic clocks.';

CREATE TABLE bpm.key_aliases (
    tenant_id integer NOT NULL,
    alias text NOT NULL,
    key text NOT NULL,
    factor double precision DEFAULT 1 NOT NULL,
    "offset" double precision DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY bpm.key_aliases FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.key_aliases OWNER TO bpm_owner;

COMMENT ON TABLE bpm.key_aliases IS 'Other names of a reading''s keys; value = what stands there times factor plus offset.';

CREATE TABLE bpm.lost_ranges (
    topic text NOT NULL,
    partition_no integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint,
    accepted_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE bpm.lost_ranges OWNER TO bpm_owner;

COMMENT ON TABLE bpm.lost_ranges IS 'Positions of a topic, as name/id, that were lost before they were committed, and passed over.';

COMMENT ON COLUMN bpm.lost_ranges.last_position IS 'NULL where the topic ended before the first: all that it had been sent from there on.';

CREATE TABLE bpm.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE bpm.migrations OWNER TO bpm_owner;

CREATE TABLE bpm.models (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    chemistry text NOT NULL,
    rated_capacity_ah double precision NOT NULL,
    voltage_min_v double precision,
    voltage_max_v double precision,
    limits jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT models_check CHECK ((voltage_min_v < voltage_max_v)),
    CONSTRAINT models_rated_capacity_ah_check CHECK ((rated_capacity_ah > (0)::double precision))
);

ALTER TABLE ONLY bpm.models FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.models OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.models.limits IS 'Plausible values by measure: {"temperature_c": {"minimum": -30, "maximum": 80}}.';

CREATE TABLE bpm.operator_sessions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    operator_id uuid NOT NULL,
    handle_digest bytea NOT NULL,
    secret_digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE bpm.operator_sessions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.operator_sessions IS 'As sessions, of operators.';

CREATE TABLE bpm.operators (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    login text NOT NULL,
    state text DEFAULT 'invited'::text NOT NULL,
    password_hash text,
    invitation_digest bytea,
    invitation_expires_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT operators_check CHECK (((invitation_digest IS NULL) = (invitation_expires_at IS NULL))),
    CONSTRAINT operators_check1 CHECK (((state <> 'active'::text) OR (password_hash IS NOT NULL))),
    CONSTRAINT operators_state_check CHECK ((state = ANY (ARRAY['invited'::text, 'active'::text, 'suspended'::text])))
);

ALTER TABLE bpm.operators OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.operators.login IS 'Login name or e-mail address in small letters.';

CREATE TABLE bpm.pack_days (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    zone text NOT NULL,
    day date NOT NULL,
    starts timestamp with time zone NOT NULL,
    ends timestamp with time zone NOT NULL,
    record bytea NOT NULL,
    CONSTRAINT pack_days_check CHECK ((starts < ends))
);

ALTER TABLE ONLY bpm.pack_days FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_days OWNER TO bpm_owner;

COMMENT ON TABLE bpm.pack_days IS 'Closed days in the zone of the tenure''s site, UTC without one, folded from quarters; right for starts and ends, whatever became of the zone.';

CREATE TABLE bpm.pack_group_members (
    tenant_id integer NOT NULL,
    group_id uuid NOT NULL,
    pack_id integer NOT NULL
);

ALTER TABLE ONLY bpm.pack_group_members FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_group_members OWNER TO bpm_owner;

CREATE TABLE bpm.pack_groups (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL
);

ALTER TABLE ONLY bpm.pack_groups FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_groups OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.pack_groups.version IS 'Raised by every edit, also of the members.';

CREATE SEQUENCE bpm.pack_numbers
    AS integer
    START WITH 0
    INCREMENT BY 1
    MINVALUE 0
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE bpm.pack_numbers OWNER TO bpm_owner;

CREATE TABLE bpm.pack_state (
    pack_id integer NOT NULL,
    watermark_ms bigint NOT NULL,
    latest_ts_ms bigint[] NOT NULL,
    latest integer[] NOT NULL,
    rule_tenant_id integer,
    rule_tenure_no integer,
    rule_clock_ms bigint,
    rule_last_ts_ms bigint[],
    rule_last integer[],
    live_tenant_id integer,
    live_arrived_ms bigint,
    live_newest_ts_ms bigint,
    live_skew_ms bigint
);

ALTER TABLE bpm.pack_state OWNER TO bpm_owner;

COMMENT ON TABLE bpm.pack_state IS 'Cache of what follows from readings, so that a restart need not read them all.';

COMMENT ON COLUMN bpm.pack_state.rule_clock_ms IS 'The rule clock, with whose readings moved it, and the last live values; NULL before the first live reading.';

COMMENT ON COLUMN bpm.pack_state.live_arrived_ms IS 'When the last live reading arrived, and whose it was; the newest live event time, and its arrival minus it. NULL before.';

CREATE TABLE bpm.packs (
    tenant_id integer NOT NULL,
    pack_id integer DEFAULT nextval('bpm.pack_numbers'::regclass) NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    external_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL
);

ALTER TABLE ONLY bpm.packs FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.packs OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.packs.pack_id IS 'Dense number, global over tenants and never reused; a pack that changes hands keeps it under the new tenant.';

CREATE TABLE bpm.partition_reports (
    partition_no integer NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    reported_at timestamp with time zone NOT NULL,
    log_end bigint NOT NULL,
    behind bigint NOT NULL,
    behind_s double precision NOT NULL,
    refused bigint NOT NULL,
    picture bytea NOT NULL,
    watermark_delay_s double precision,
    trouble text
);

ALTER TABLE bpm.partition_reports OWNER TO bpm_owner;

COMMENT ON TABLE bpm.partition_reports IS 'What each partition''s owner last said of itself, and the live picture of its packs. One that is old is of an owner that is gone.';

COMMENT ON COLUMN bpm.partition_reports.watermark_delay_s IS 'Between the report and the largest time of a reading that this owner has committed. NULL before the first.';

COMMENT ON COLUMN bpm.partition_reports.trouble IS 'Why the partition isn''t worked on; NULL while it is.';

CREATE TABLE bpm.partitions (
    partition_no integer NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    next bigint DEFAULT 0 NOT NULL,
    last_batch_no bigint DEFAULT 0 NOT NULL,
    applied_batch_no bigint DEFAULT 0 NOT NULL,
    closed_before timestamp with time zone DEFAULT date_bin('00:15:00'::interval, now(), '2000-01-01 00:00:00+00'::timestamp with time zone) NOT NULL,
    alert_seq bigint DEFAULT 0 NOT NULL,
    arrivals bigint DEFAULT 0 NOT NULL
);

ALTER TABLE bpm.partitions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.partitions IS 'One row, one writer: every transaction of the owner locks it and checks epoch and position.';

COMMENT ON COLUMN bpm.partitions.applied_batch_no IS 'pack_state holds the readings of batches up to this one.';

COMMENT ON COLUMN bpm.partitions.closed_before IS 'Quarter-hours that start before are closed: a reading that touches one leaves a note. Moves forward only.';

COMMENT ON COLUMN bpm.partitions.arrivals IS 'Grows when packs arrive with their history: an owner whose memory is of before loads it again.';

CREATE TABLE bpm.platform_epochs (
    holder text NOT NULL,
    epoch bigint NOT NULL,
    raised_at timestamp with time zone NOT NULL
);

ALTER TABLE bpm.platform_epochs OWNER TO bpm_owner;

COMMENT ON TABLE bpm.platform_epochs IS 'As credential_epochs, of operators and their sessions.';

CREATE TABLE bpm.platform_log (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    subject text NOT NULL,
    client_address text,
    action text NOT NULL,
    resource text NOT NULL,
    resource_id text NOT NULL,
    after jsonb,
    request_id text NOT NULL
);

ALTER TABLE bpm.platform_log OWNER TO bpm_owner;

COMMENT ON TABLE bpm.platform_log IS 'What was done to tenants and operators, by whom: nothing of what tenants hold. It outlives them, and is never changed.';

ALTER TABLE bpm.platform_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.platform_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.platform_security_events (
    event_no bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    address_prefix text,
    route text,
    times integer NOT NULL,
    CONSTRAINT platform_security_events_times_check CHECK ((times > 0))
);

ALTER TABLE bpm.platform_security_events OWNER TO bpm_owner;

COMMENT ON TABLE bpm.platform_security_events IS 'The same of those who have not shown whose they are: for who runs the installation.';

ALTER TABLE bpm.platform_security_events ALTER COLUMN event_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.platform_security_events_event_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.quarantine (
    tenant_id integer NOT NULL,
    source text NOT NULL,
    item_hash bytea NOT NULL,
    reason text NOT NULL,
    id bigint NOT NULL,
    field text,
    limit_value text,
    raw text NOT NULL,
    times bigint DEFAULT 1 NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    uid uuid DEFAULT gen_random_uuid() NOT NULL,
    form text DEFAULT 'json'::text NOT NULL,
    pack text,
    mode text DEFAULT 'live'::text NOT NULL,
    import_id uuid,
    subject text DEFAULT ''::text NOT NULL,
    pack_limit text,
    own_device boolean DEFAULT false NOT NULL,
    site_limit jsonb,
    redrives integer DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY bpm.quarantine FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.quarantine OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.quarantine.uid IS 'The id that is shown; `id` orders the list.';

COMMENT ON COLUMN bpm.quarantine.form IS 'How `raw` is written: json, csv (header and row), thingsboard.';

COMMENT ON COLUMN bpm.quarantine.pack IS 'External id that the item names, where it can be read.';

COMMENT ON COLUMN bpm.quarantine.subject IS 'Who sent the item first.';

COMMENT ON COLUMN bpm.quarantine.pack_limit IS 'The only pack that its sender may name; a second judgement holds to it, as to own_device and site_limit.';

COMMENT ON COLUMN bpm.quarantine.redrives IS 'How often the item was judged again, in vain; makes each try a batch of its own.';

ALTER TABLE bpm.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.quarters (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    tenure_no integer NOT NULL,
    starts timestamp with time zone NOT NULL,
    record bytea NOT NULL
)
PARTITION BY RANGE (starts);

ALTER TABLE ONLY bpm.quarters FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.quarters OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.quarters.record IS 'Packed little-endian numbers, laid out as in docs/reference/windows.md: a year of a pack is read as one column.';

CREATE UNLOGGED TABLE bpm.rate_buckets (
    tenant_id integer NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    tokens double precision NOT NULL,
    granted double precision NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY bpm.rate_buckets FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.rate_buckets OWNER TO bpm_owner;

COMMENT ON TABLE bpm.rate_buckets IS 'After a crash they are full again. granted is what the last lease took.';

CREATE TABLE bpm.readings_class_0 (
    tenant_id integer CONSTRAINT readings_tenant_id_not_null NOT NULL,
    pack_id integer CONSTRAINT readings_pack_id_not_null NOT NULL,
    ts timestamp with time zone CONSTRAINT readings_ts_not_null NOT NULL,
    batch_no bigint CONSTRAINT readings_batch_no_not_null NOT NULL,
    state_of_charge_pct real,
    state_of_health_pct real,
    temperature_c real,
    voltage_v real,
    current_a real,
    cell_voltage_min_v real,
    cell_voltage_max_v real,
    item_no integer DEFAULT 0 CONSTRAINT readings_item_no_not_null NOT NULL
)
PARTITION BY RANGE (ts);

ALTER TABLE ONLY bpm.readings_class_0 FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.readings_class_0 OWNER TO bpm_owner;

COMMENT ON TABLE bpm.readings_class_0 IS 'Rows of one pack and time carry different measures; identity (pack, time, measure) is kept by the partition''s writer.';

COMMENT ON COLUMN bpm.readings_class_0.item_no IS 'Position of the reading in its batch: rules take a pack''s readings in order of arrival.';

CREATE VIEW bpm.readings WITH (security_invoker='true') AS
 SELECT tenant_id,
    pack_id,
    ts,
    batch_no,
    state_of_charge_pct,
    state_of_health_pct,
    temperature_c,
    voltage_v,
    current_a,
    cell_voltage_min_v,
    cell_voltage_max_v,
    item_no
   FROM bpm.readings_class_0;

ALTER VIEW bpm.readings OWNER TO bpm_owner;

COMMENT ON VIEW bpm.readings IS 'Readings of all classes of retention; they are written in the table of their tenant''s class.';

CREATE TABLE bpm.request_days (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    requests bigint NOT NULL
);

ALTER TABLE ONLY bpm.request_days FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.request_days OWNER TO bpm_owner;

COMMENT ON TABLE bpm.request_days IS 'Requests that were allowed, counted in memory and added every few seconds.';

CREATE TABLE bpm.retention_classes (
    class_no smallint NOT NULL,
    name text NOT NULL,
    keep_days integer,
    archived_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    archived_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT retention_classes_keep_days_check CHECK ((keep_days >= 7)),
    CONSTRAINT retention_classes_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);

ALTER TABLE bpm.retention_classes OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.retention_classes.class_no IS 'Never reused; readings of class 3 lie in readings_class_3.';

COMMENT ON COLUMN bpm.retention_classes.keep_days IS 'Days for which readings are kept at least; NULL for good. Of standard it is a setting instead.';

COMMENT ON COLUMN bpm.retention_classes.archived_before IS 'Before it nothing is stored or corrected any more: readings are archived, and dropped later.';

COMMENT ON COLUMN bpm.retention_classes.archived_at IS 'When archived_before was last raised.';

ALTER TABLE bpm.retention_classes ALTER COLUMN class_no ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME bpm.retention_classes_class_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.roles (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    actions text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT roles_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);

ALTER TABLE ONLY bpm.roles FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.roles OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.roles.actions IS 'Names of actions of the policy. One that the policy has no more grants nothing.';

CREATE TABLE bpm.rule_states (
    rule_no integer NOT NULL,
    pack_id integer NOT NULL,
    source text NOT NULL,
    rule_version integer NOT NULL,
    status text NOT NULL,
    flapping boolean NOT NULL,
    onset timestamp with time zone,
    clear_since timestamp with time zone,
    raises timestamp with time zone[] NOT NULL,
    CONSTRAINT rule_states_status_check CHECK ((status = ANY (ARRAY['normal'::text, 'pending'::text, 'raised'::text, 'provisional'::text])))
);

ALTER TABLE bpm.rule_states OWNER TO bpm_owner;

COMMENT ON TABLE bpm.rule_states IS 'Where rules stand: not normal, or raised so lately that they may flap. pack_id is -1 and source names it, or is empty, for what is about no pack.';

CREATE TABLE bpm.rule_versions (
    tenant_id integer NOT NULL,
    rule_no integer NOT NULL,
    number integer NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    enabled boolean NOT NULL,
    severity text NOT NULL,
    condition jsonb NOT NULL,
    flap_raises_max integer NOT NULL,
    flap_window_s integer NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT rule_versions_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);

ALTER TABLE ONLY bpm.rule_versions FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.rule_versions OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.rule_versions.effective_from IS 'Rule time from which the version applies: the engine''s clock after tenants.rules_version was raised.';

CREATE TABLE bpm.rules (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    rule_no integer NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    site_id uuid,
    model_id uuid,
    pack_id integer,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    security_kind text,
    CONSTRAINT rules_check CHECK ((num_nonnulls(site_id, model_id, pack_id) = ((scope <> 'tenant'::text))::integer)),
    CONSTRAINT rules_check1 CHECK ((((scope = 'site'::text) = (site_id IS NOT NULL)) AND ((scope = 'model'::text) = (model_id IS NOT NULL)))),
    CONSTRAINT rules_check2 CHECK (((security_kind IS NULL) OR (scope = 'tenant'::text))),
    CONSTRAINT rules_scope_check CHECK ((scope = ANY (ARRAY['tenant'::text, 'site'::text, 'model'::text, 'pack'::text])))
);

ALTER TABLE ONLY bpm.rules FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.rules OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.rules.rule_no IS 'Short name of the rule, never reused; transitions, states and alerts are kept by it.';

COMMENT ON COLUMN bpm.rules.security_kind IS 'Of which refusals there are too many; NULL for rules that people make.';

ALTER TABLE bpm.rules ALTER COLUMN rule_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.rules_rule_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.security_counts (
    tenant_id integer NOT NULL,
    kind text NOT NULL,
    minute timestamp with time zone NOT NULL,
    times bigint NOT NULL
);

ALTER TABLE ONLY bpm.security_counts FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_counts OWNER TO bpm_owner;

COMMENT ON TABLE bpm.security_counts IS 'Refusals within a minute, of all processes. A few days of it are kept.';

CREATE TABLE bpm.security_events (
    tenant_id integer NOT NULL,
    event_no bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    subject text,
    address_prefix text,
    route text,
    times integer NOT NULL,
    CONSTRAINT security_events_kind_check CHECK ((kind = ANY (ARRAY['bad_credential'::text, 'denied'::text, 'not_found'::text, 'rate_limited'::text, 'threshold_exceeded'::text]))),
    CONSTRAINT security_events_times_check CHECK ((times > 0))
);

ALTER TABLE ONLY bpm.security_events FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_events OWNER TO bpm_owner;

COMMENT ON TABLE bpm.security_events IS 'One row for what was refused alike within a second: to whom, from which network, where.';

COMMENT ON COLUMN bpm.security_events.route IS 'NULL where more was refused within a second than is told apart.';

ALTER TABLE bpm.security_events ALTER COLUMN event_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.security_events_event_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.security_thresholds (
    tenant_id integer NOT NULL,
    denied_per_minute_max integer,
    not_found_per_minute_max integer,
    rate_limited_per_minute_max integer,
    quiet_s integer,
    version integer DEFAULT 0 NOT NULL,
    CONSTRAINT security_thresholds_denied_per_minute_max_check CHECK ((denied_per_minute_max > 0)),
    CONSTRAINT security_thresholds_not_found_per_minute_max_check CHECK ((not_found_per_minute_max > 0)),
    CONSTRAINT security_thresholds_quiet_s_check CHECK ((quiet_s > 0)),
    CONSTRAINT security_thresholds_rate_limited_per_minute_max_check CHECK ((rate_limited_per_minute_max > 0))
);

ALTER TABLE ONLY bpm.security_thresholds FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_thresholds OWNER TO bpm_owner;

COMMENT ON TABLE bpm.security_thresholds IS 'What a tenant has chosen; NULL is what the settings say.';

CREATE TABLE bpm.service_accounts (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    roles text[] NOT NULL,
    site_ids uuid[],
    regions text[],
    pack_id integer,
    state text DEFAULT 'active'::text NOT NULL,
    deleted_at timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT service_accounts_check CHECK (((kind = 'device'::text) = (pack_id IS NOT NULL))),
    CONSTRAINT service_accounts_kind_check CHECK ((kind = ANY (ARRAY['service'::text, 'device'::text]))),
    CONSTRAINT service_accounts_state_check CHECK ((state = ANY (ARRAY['active'::text, 'suspended'::text])))
);

ALTER TABLE ONLY bpm.service_accounts FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.service_accounts OWNER TO bpm_owner;

COMMENT ON TABLE bpm.service_accounts IS 'Who calls without being a person. A device sends the readings of its own pack alone.';

COMMENT ON COLUMN bpm.service_accounts.deleted_at IS 'From then on its keys are refused; until its grace has passed it can be restored.';

CREATE TABLE bpm.sessions (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    handle_digest bytea NOT NULL,
    secret_digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY bpm.sessions FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.sessions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.sessions IS 'A family of refresh tokens: all of one session have its handle, and the secret of the newest one alone is good.';

CREATE TABLE bpm.tenures (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    held_from timestamp with time zone NOT NULL,
    held_to timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
    site_id uuid,
    model_id uuid,
    tenure_no integer NOT NULL,
    changed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT tenures_check CHECK ((held_from < held_to))
);

ALTER TABLE ONLY bpm.tenures FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.tenures OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.tenures.tenure_no IS 'Short name of the tenure, never reused; windows are kept by it.';

COMMENT ON COLUMN bpm.tenures.changed_xid IS 'Transaction that wrote the row last. After a restore elsewhere it may be anything, until the row changes again.';

CREATE VIEW bpm.shown_alerts WITH (security_invoker='true') AS
 SELECT alerts.tenant_id,
    alerts.id,
    alerts.alert_no,
    rules.id AS rule_id,
    rules.name AS rule,
    alerts.rule_no,
    alerts.rule_version,
    alerts.pack_id,
    packs.external_id AS pack,
    alerts.source,
    sites.name AS site,
    alerts.onset,
    alerts.raised_at,
    alerts.cleared_at,
    alerts.state,
    alerts.clear_reason,
    alerts.severity,
    alerts.value,
    alerts.flapping,
    alerts.late,
    alerts.provisional,
    alerts.silence_id,
    alerts.maintenance,
    rule_versions.condition,
    alerts.acknowledged_by,
    alerts.acknowledged_at,
    alerts.assigned_to,
    alerts.version,
    alerts.subject_pack,
    alerts.subject_source,
    alerts.security_kind
   FROM (((((bpm.alerts
     JOIN bpm.rules USING (tenant_id, rule_no))
     JOIN bpm.rule_versions ON (((rule_versions.tenant_id = alerts.tenant_id) AND (rule_versions.rule_no = alerts.rule_no) AND (rule_versions.number = alerts.rule_version))))
     LEFT JOIN bpm.packs ON (((packs.tenant_id = alerts.tenant_id) AND (packs.pack_id = alerts.pack_id))))
     LEFT JOIN bpm.tenures ON (((tenures.tenant_id = alerts.tenant_id) AND (tenures.tenure_no = alerts.tenure_no))))
     LEFT JOIN bpm.sites ON (((sites.tenant_id = tenures.tenant_id) AND (sites.id = tenures.site_id))));

ALTER VIEW bpm.shown_alerts OWNER TO bpm_owner;

CREATE TABLE bpm.sign_in_failures (
    digest bytea NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL,
    blocked_until timestamp with time zone NOT NULL
);

ALTER TABLE bpm.sign_in_failures OWNER TO bpm_owner;

COMMENT ON TABLE bpm.sign_in_failures IS 'By the hash of tenant and login, whether or not there are such: the answer must not tell.';

CREATE TABLE bpm.silences (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    silence_no bigint NOT NULL,
    kind text NOT NULL,
    pack_id integer,
    site_id uuid,
    rule_no integer,
    starts timestamp with time zone NOT NULL,
    ends timestamp with time zone NOT NULL,
    reason text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT silences_check CHECK ((starts < ends)),
    CONSTRAINT silences_kind_check CHECK ((kind = ANY (ARRAY['mute'::text, 'maintenance'::text])))
);

ALTER TABLE ONLY bpm.silences FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.silences OWNER TO bpm_owner;

COMMENT ON TABLE bpm.silences IS 'Alerts raised within, by rule time, are stored as muted. Rules go on running.';

ALTER TABLE bpm.silences ALTER COLUMN silence_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.silences_silence_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.source_positions (
    partition_no integer NOT NULL,
    source text NOT NULL,
    next bigint NOT NULL
);

ALTER TABLE bpm.source_positions OWNER TO bpm_owner;

COMMENT ON TABLE bpm.source_positions IS 'Up to where each partition''s owner has what came from a partition of another topic. source: name/id:partition:tenant.';

CREATE TABLE bpm.superseded_readings (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    ts timestamp with time zone NOT NULL,
    batch_no bigint NOT NULL,
    item_no integer NOT NULL,
    state_of_charge_pct real,
    state_of_health_pct real,
    temperature_c real,
    voltage_v real,
    current_a real,
    cell_voltage_min_v real,
    cell_voltage_max_v real,
    correction_no bigint NOT NULL,
    deleted boolean NOT NULL
);

ALTER TABLE ONLY bpm.superseded_readings FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.superseded_readings OWNER TO bpm_owner;

COMMENT ON TABLE bpm.superseded_readings IS 'Values that were stored once: deleted, or replaced by a correction. Kept for audit, and so that a re-send brings none back.';

CREATE TABLE bpm.tenants (
    tenant_id integer NOT NULL,
    name text NOT NULL,
    register_unknown_packs boolean DEFAULT false NOT NULL,
    registry_version bigint DEFAULT (((floor((random() * ('2147483648'::bigint)::double precision)))::bigint << 32) | (floor((random() * ('4294967296'::bigint)::double precision)))::bigint) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rules_version bigint DEFAULT 0 NOT NULL,
    key_aliases_version integer DEFAULT 1 NOT NULL,
    placement text DEFAULT 'here'::text NOT NULL,
    cell text,
    cell_url text,
    arrived_from text,
    suspended_at timestamp with time zone,
    suspended_for text,
    deletion_asked_at timestamp with time zone,
    erased_from timestamp with time zone,
    erasing_since timestamp with time zone,
    state text GENERATED ALWAYS AS (
CASE
    WHEN (erasing_since IS NOT NULL) THEN 'erasing'::text
    WHEN (deletion_asked_at IS NOT NULL) THEN 'deleting'::text
    WHEN (suspended_at IS NOT NULL) THEN 'suspended'::text
    ELSE 'active'::text
END) STORED NOT NULL,
    packs_max bigint,
    day_readings_max bigint,
    day_requests_max bigint,
    day_received_bytes_max bigint,
    retention_class smallint DEFAULT 0 NOT NULL,
    CONSTRAINT tenants_check CHECK ((((placement = 'here'::text) = (cell IS NULL)) AND ((cell IS NULL) = (cell_url IS NULL)))),
    CONSTRAINT tenants_check1 CHECK (((suspended_at IS NULL) = (suspended_for IS NULL))),
    CONSTRAINT tenants_check2 CHECK (((deletion_asked_at IS NULL) = (erased_from IS NULL))),
    CONSTRAINT tenants_check3 CHECK (((erasing_since IS NULL) OR (deletion_asked_at IS NOT NULL))),
    CONSTRAINT tenants_day_readings_max_check CHECK ((day_readings_max >= 0)),
    CONSTRAINT tenants_day_received_bytes_max_check CHECK ((day_received_bytes_max >= 0)),
    CONSTRAINT tenants_day_requests_max_check CHECK ((day_requests_max >= 0)),
    CONSTRAINT tenants_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text)),
    CONSTRAINT tenants_packs_max_check CHECK ((packs_max >= 0)),
    CONSTRAINT tenants_placement_check CHECK ((placement = ANY (ARRAY['here'::text, 'leaving'::text, 'sealed'::text, 'moved'::text])))
);

ALTER TABLE ONLY bpm.tenants FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.tenants OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.tenants.registry_version IS 'Changes with every change of a tenure or of a model''s limits, so that the writer knows a stale validation. At random: the upper half is the tenant''s for good, by which the writer knows a message for another tenant that had the same number before a restore.';

COMMENT ON COLUMN bpm.tenants.rules_version IS 'Grows with every change of rules and silences, so that the writer knows when to load them again.';

COMMENT ON COLUMN bpm.tenants.placement IS 'here; leaving: nothing new is taken in; sealed: nothing of it changes any more, a copy may be taken; moved: it is on the cell.';

COMMENT ON COLUMN bpm.tenants.arrived_from IS 'Installation and number under which it was known where it came from.';

COMMENT ON COLUMN bpm.tenants.suspended_for IS 'Why, in the words of who suspended it.';

COMMENT ON COLUMN bpm.tenants.erased_from IS 'The grace ends: from then on the tenant may be erased.';

COMMENT ON COLUMN bpm.tenants.packs_max IS 'Quota: packs registered at one time; NULL for none.';

COMMENT ON COLUMN bpm.tenants.day_readings_max IS 'Quota: readings stored in a UTC day of their arrival; NULL for none.';

COMMENT ON COLUMN bpm.tenants.day_requests_max IS 'Quota: requests in a UTC day; NULL for none.';

COMMENT ON COLUMN bpm.tenants.day_received_bytes_max IS 'Quota: bytes of bodies with readings, as they were sent, in a UTC day of their arrival; NULL for none.';

COMMENT ON COLUMN bpm.tenants.retention_class IS 'Its readings lie in the table of this class. Fixed once there are any.';

CREATE VIEW bpm.tenant_lines WITH (security_invoker='true') AS
 SELECT tenants.tenant_id,
    retention_classes.class_no,
    retention_classes.archived_before
   FROM (bpm.tenants
     JOIN bpm.retention_classes ON ((retention_classes.class_no = tenants.retention_class)));

ALTER VIEW bpm.tenant_lines OWNER TO bpm_owner;

ALTER TABLE bpm.tenants ALTER COLUMN tenant_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.tenants_tenant_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE bpm.tenures ALTER COLUMN tenure_no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME bpm.tenures_tenure_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE bpm.tickets (
    tenant_id integer NOT NULL,
    digest bytea NOT NULL,
    claims jsonb NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY bpm.tickets FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.tickets OWNER TO bpm_owner;

COMMENT ON TABLE bpm.tickets IS 'Unused tickets by their hash, with what the token said that they were asked with.';

CREATE TABLE bpm.users (
    tenant_id integer NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    login text NOT NULL,
    state text DEFAULT 'invited'::text NOT NULL,
    roles text[] NOT NULL,
    all_sites boolean NOT NULL,
    password_hash text,
    has_password boolean GENERATED ALWAYS AS ((password_hash IS NOT NULL)) STORED NOT NULL,
    invitation_digest bytea,
    invitation_expires_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    purge_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT users_check CHECK (((state = 'deleted'::text) = (purge_at IS NOT NULL))),
    CONSTRAINT users_check1 CHECK (((invitation_digest IS NULL) = (invitation_expires_at IS NULL))),
    CONSTRAINT users_check2 CHECK (((state <> 'active'::text) OR (password_hash IS NOT NULL))),
    CONSTRAINT users_state_check CHECK ((state = ANY (ARRAY['invited'::text, 'active'::text, 'suspended'::text, 'deleted'::text])))
);

ALTER TABLE ONLY bpm.users FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.users OWNER TO bpm_owner;

COMMENT ON COLUMN bpm.users.login IS 'Login name or e-mail address in small letters; taken until the user is purged.';

COMMENT ON COLUMN bpm.users.all_sites IS 'Whether the user is not limited to the sites of user_sites.';

COMMENT ON COLUMN bpm.users.purge_at IS 'When nothing but the id is left of a deleted user, in the audit log.';

CREATE TABLE bpm.window_marks (
    partition_no integer NOT NULL,
    counted_before timestamp with time zone NOT NULL
);

ALTER TABLE bpm.window_marks OWNER TO bpm_owner;

COMMENT ON TABLE bpm.window_marks IS 'Quarter-hours that start before counted_before are stored, where they have readings. Written by the counter only, which counts all partitions: one row.';

CREATE TABLE bpm.window_notes (
    tenant_id integer NOT NULL,
    pack_id integer NOT NULL,
    starts timestamp with time zone NOT NULL,
    batch_no bigint NOT NULL
);

ALTER TABLE ONLY bpm.window_notes FORCE ROW LEVEL SECURITY;

ALTER TABLE bpm.window_notes OWNER TO bpm_owner;

COMMENT ON TABLE bpm.window_notes IS 'Closed quarter-hours that a batch touched and that must be counted again; one row a batch, so that no two writers share one.';

ALTER TABLE ONLY bpm.access_grants
    ADD CONSTRAINT access_grants_pkey PRIMARY KEY (tenant_id, grant_no);

ALTER TABLE ONLY bpm.access_grants
    ADD CONSTRAINT access_grants_tenant_id_id_key UNIQUE (tenant_id, id);

ALTER TABLE ONLY bpm.alert_actions
    ADD CONSTRAINT alert_actions_pkey PRIMARY KEY (tenant_id, partition_no, seq);

ALTER TABLE ONLY bpm.alert_actions
    ADD CONSTRAINT alert_actions_tenant_id_id_key UNIQUE (tenant_id, id);

ALTER TABLE ONLY bpm.alert_clearances
    ADD CONSTRAINT alert_clearances_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.alert_topic_positions
    ADD CONSTRAINT alert_topic_positions_pkey PRIMARY KEY (partition_no);

ALTER TABLE ONLY bpm.alerts
    ADD CONSTRAINT alerts_alert_no_key UNIQUE (alert_no);

ALTER TABLE ONLY bpm.alerts
    ADD CONSTRAINT alerts_identity UNIQUE (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset);

ALTER TABLE ONLY bpm.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, key_id);

ALTER TABLE ONLY bpm.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.closed_changes
    ADD CONSTRAINT closed_changes_pkey PRIMARY KEY (tenant_id, day, partition_no);

ALTER TABLE ONLY bpm.corrected_packs
    ADD CONSTRAINT corrected_packs_pkey PRIMARY KEY (pack_id);

ALTER TABLE ONLY bpm.correction_parts
    ADD CONSTRAINT correction_parts_pkey PRIMARY KEY (correction_no, partition_no);

ALTER TABLE ONLY bpm.corrections
    ADD CONSTRAINT corrections_correction_no_key UNIQUE (correction_no);

ALTER TABLE ONLY bpm.corrections
    ADD CONSTRAINT corrections_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.credential_epochs
    ADD CONSTRAINT credential_epochs_pkey PRIMARY KEY (tenant_id, holder);

ALTER TABLE ONLY bpm.day_marks
    ADD CONSTRAINT day_marks_pkey PRIMARY KEY (zone);

ALTER TABLE ONLY bpm.days_to_fold
    ADD CONSTRAINT days_to_fold_pkey PRIMARY KEY (pack_id, tenure_no, day);

ALTER TABLE ONLY bpm.deliveries
    ADD CONSTRAINT deliveries_delivery_no_key UNIQUE (delivery_no);

ALTER TABLE ONLY bpm.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.delivery_events
    ADD CONSTRAINT delivery_events_pkey PRIMARY KEY (tenant_id, channel_id, partition_no, seq);

ALTER TABLE ONLY bpm.dispatch_positions
    ADD CONSTRAINT dispatch_positions_pkey PRIMARY KEY (partition_no);

ALTER TABLE ONLY bpm.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bpm.group_days
    ADD CONSTRAINT group_days_pkey PRIMARY KEY (tenant_id, kind, group_id, day);

ALTER TABLE ONLY bpm.groups_to_fold
    ADD CONSTRAINT groups_to_fold_pkey PRIMARY KEY (tenant_id, day);

ALTER TABLE ONLY bpm.imports
    ADD CONSTRAINT imports_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.ingest_days
    ADD CONSTRAINT ingest_days_pkey PRIMARY KEY (tenant_id, day, partition_no);

ALTER TABLE ONLY bpm.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY bpm.key_aliases
    ADD CONSTRAINT key_aliases_pkey PRIMARY KEY (tenant_id, alias);

ALTER TABLE ONLY bpm.lost_ranges
    ADD CONSTRAINT lost_ranges_pkey PRIMARY KEY (topic, partition_no, accepted_at);

ALTER TABLE ONLY bpm.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY bpm.models
    ADD CONSTRAINT models_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.models
    ADD CONSTRAINT models_tenant_id_name_key UNIQUE (tenant_id, name);

ALTER TABLE ONLY bpm.operator_sessions
    ADD CONSTRAINT operator_sessions_handle_digest_key UNIQUE (handle_digest);

ALTER TABLE ONLY bpm.operator_sessions
    ADD CONSTRAINT operator_sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bpm.operators
    ADD CONSTRAINT operators_login_key UNIQUE (login);

ALTER TABLE ONLY bpm.operators
    ADD CONSTRAINT operators_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bpm.pack_days
    ADD CONSTRAINT pack_days_pkey PRIMARY KEY (pack_id, starts, tenure_no);

ALTER TABLE ONLY bpm.pack_group_members
    ADD CONSTRAINT pack_group_members_pkey PRIMARY KEY (tenant_id, group_id, pack_id);

ALTER TABLE ONLY bpm.pack_groups
    ADD CONSTRAINT pack_groups_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.pack_groups
    ADD CONSTRAINT pack_groups_tenant_id_name_key UNIQUE (tenant_id, name);

ALTER TABLE ONLY bpm.pack_state
    ADD CONSTRAINT pack_state_pkey PRIMARY KEY (pack_id);

ALTER TABLE ONLY bpm.packs
    ADD CONSTRAINT packs_pkey PRIMARY KEY (tenant_id, pack_id);

ALTER TABLE ONLY bpm.packs
    ADD CONSTRAINT packs_tenant_id_external_id_key UNIQUE (tenant_id, external_id);

ALTER TABLE ONLY bpm.packs
    ADD CONSTRAINT packs_tenant_id_id_key UNIQUE (tenant_id, id);

ALTER TABLE ONLY bpm.partition_reports
    ADD CONSTRAINT partition_reports_pkey PRIMARY KEY (partition_no);

ALTER TABLE ONLY bpm.partitions
    ADD CONSTRAINT partitions_pkey PRIMARY KEY (partition_no);

ALTER TABLE ONLY bpm.platform_epochs
    ADD CONSTRAINT platform_epochs_pkey PRIMARY KEY (holder);

ALTER TABLE ONLY bpm.platform_log
    ADD CONSTRAINT platform_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY bpm.platform_security_events
    ADD CONSTRAINT platform_security_events_pkey PRIMARY KEY (event_no);

ALTER TABLE ONLY bpm.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (tenant_id, source, item_hash, reason);

ALTER TABLE ONLY bpm.quarantine
    ADD CONSTRAINT quarantine_tenant_id_id_key UNIQUE (tenant_id, id);

ALTER TABLE ONLY bpm.quarantine
    ADD CONSTRAINT quarantine_tenant_id_uid_key UNIQUE (tenant_id, uid);

ALTER TABLE ONLY bpm.quarters
    ADD CONSTRAINT quarters_pkey PRIMARY KEY (pack_id, starts, tenure_no);

ALTER TABLE ONLY bpm.rate_buckets
    ADD CONSTRAINT rate_buckets_pkey PRIMARY KEY (tenant_id, kind, subject);

ALTER TABLE ONLY bpm.request_days
    ADD CONSTRAINT request_days_pkey PRIMARY KEY (tenant_id, day);

ALTER TABLE ONLY bpm.retention_classes
    ADD CONSTRAINT retention_classes_name_key UNIQUE (name);

ALTER TABLE ONLY bpm.retention_classes
    ADD CONSTRAINT retention_classes_pkey PRIMARY KEY (class_no);

ALTER TABLE ONLY bpm.roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.roles
    ADD CONSTRAINT roles_tenant_id_name_key UNIQUE (tenant_id, name);

ALTER TABLE ONLY bpm.rule_states
    ADD CONSTRAINT rule_states_pkey PRIMARY KEY (rule_no, pack_id, source);

ALTER TABLE ONLY bpm.rule_transitions
    ADD CONSTRAINT rule_transitions_pkey PRIMARY KEY (tenant_id, partition_no, seq);

ALTER TABLE ONLY bpm.rule_versions
    ADD CONSTRAINT rule_versions_pkey PRIMARY KEY (tenant_id, rule_no, number);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_rule_no_key UNIQUE (rule_no);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_security UNIQUE (tenant_id, security_kind);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_tenant_id_rule_no_key UNIQUE (tenant_id, rule_no);

ALTER TABLE ONLY bpm.security_counts
    ADD CONSTRAINT security_counts_pkey PRIMARY KEY (tenant_id, kind, minute);

ALTER TABLE ONLY bpm.security_events
    ADD CONSTRAINT security_events_pkey PRIMARY KEY (tenant_id, event_no);

ALTER TABLE ONLY bpm.security_thresholds
    ADD CONSTRAINT security_thresholds_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY bpm.service_accounts
    ADD CONSTRAINT service_accounts_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.service_accounts
    ADD CONSTRAINT service_accounts_tenant_id_kind_name_key UNIQUE (tenant_id, kind, name);

ALTER TABLE ONLY bpm.sessions
    ADD CONSTRAINT sessions_handle_digest_key UNIQUE (handle_digest);

ALTER TABLE ONLY bpm.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_silence_no_key UNIQUE (silence_no);

ALTER TABLE ONLY bpm.sites
    ADD CONSTRAINT sites_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.sites
    ADD CONSTRAINT sites_tenant_id_name_key UNIQUE (tenant_id, name);

ALTER TABLE ONLY bpm.source_positions
    ADD CONSTRAINT source_positions_pkey PRIMARY KEY (partition_no, source);

ALTER TABLE ONLY bpm.submissions
    ADD CONSTRAINT submissions_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.tenants
    ADD CONSTRAINT tenants_arrived_from_key UNIQUE (arrived_from);

ALTER TABLE ONLY bpm.tenants
    ADD CONSTRAINT tenants_name_key UNIQUE (name);

ALTER TABLE ONLY bpm.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY bpm.tenures
    ADD CONSTRAINT tenures_pkey PRIMARY KEY (tenant_id, pack_id, held_from);

ALTER TABLE ONLY bpm.tenures
    ADD CONSTRAINT tenures_tenure_no_key UNIQUE (tenure_no);

ALTER TABLE ONLY bpm.tickets
    ADD CONSTRAINT tickets_pkey PRIMARY KEY (tenant_id, digest);

ALTER TABLE ONLY bpm.user_sites
    ADD CONSTRAINT user_sites_pkey PRIMARY KEY (tenant_id, user_id, site_id);

ALTER TABLE ONLY bpm.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY bpm.users
    ADD CONSTRAINT users_tenant_id_login_key UNIQUE (tenant_id, login);

ALTER TABLE ONLY bpm.window_marks
    ADD CONSTRAINT window_marks_pkey PRIMARY KEY (partition_no);

ALTER TABLE ONLY bpm.window_notes
    ADD CONSTRAINT window_notes_pkey PRIMARY KEY (pack_id, starts, tenant_id, batch_no);

CREATE INDEX alert_actions_by_time ON bpm.alert_actions USING btree (tenant_id, at, partition_no, seq);

CREATE UNIQUE INDEX alert_actions_log ON bpm.alert_actions USING btree (partition_no, seq);

CREATE INDEX alert_actions_of_alert ON bpm.alert_actions USING btree (tenant_id, alert_id, seq);

CREATE INDEX alert_clearances_waiting ON bpm.alert_clearances USING btree (partition_no, asked_at) WHERE (answered_at IS NULL);

CREATE INDEX alerts_flapping ON bpm.alerts USING btree (tenant_id, alert_no DESC) WHERE flapping;

CREATE INDEX alerts_muted ON bpm.alerts USING btree (tenant_id, alert_no DESC) WHERE (silence_id IS NOT NULL);

CREATE INDEX alerts_newest ON bpm.alerts USING btree (tenant_id, alert_no DESC);

CREATE INDEX alerts_of_assignee ON bpm.alerts USING btree (tenant_id, assigned_to, alert_no DESC) WHERE (assigned_to IS NOT NULL);

CREATE INDEX alerts_of_pack ON bpm.alerts USING btree (tenant_id, pack_id, alert_no DESC);

CREATE INDEX alerts_of_rule ON bpm.alerts USING btree (tenant_id, rule_no, alert_no DESC);

CREATE INDEX alerts_of_severity ON bpm.alerts USING btree (tenant_id, severity, alert_no DESC);

CREATE INDEX alerts_open ON bpm.alerts USING btree (tenant_id, alert_no DESC) WHERE (state = 'open'::text);

CREATE INDEX alerts_raised ON bpm.alerts USING btree (tenant_id, raised_at DESC, alert_no DESC);

CREATE INDEX alerts_security ON bpm.alerts USING btree (tenant_id, security_kind, raised_at) WHERE (security_kind IS NOT NULL);

CREATE UNIQUE INDEX alerts_security_open ON bpm.alerts USING btree (tenant_id, security_kind) WHERE ((state = 'open'::text) AND (security_kind IS NOT NULL));

CREATE INDEX api_keys_by_id ON bpm.api_keys USING btree (key_id);

CREATE INDEX api_keys_of_account ON bpm.api_keys USING btree (tenant_id, account_id, key_id);

CREATE INDEX audit_log_at ON bpm.audit_log USING brin (at);

CREATE INDEX batches_arrived ON bpm.batches USING brin (arrived_at);

CREATE INDEX batches_by_import ON bpm.batches USING btree (tenant_id, import_id) WHERE (import_id IS NOT NULL);

CREATE INDEX batches_by_number ON bpm.batches USING brin (batch_no);

CREATE INDEX batches_parts ON bpm.batches USING btree (tenant_id, part_of) WHERE (part_of IS NOT NULL);

CREATE INDEX channels_due ON bpm.channels USING btree (next_due_at) WHERE (next_due_at IS NOT NULL);

CREATE UNIQUE INDEX channels_name ON bpm.channels USING btree (tenant_id, name) WHERE (deleted_at IS NULL);

CREATE INDEX corrections_unfinished ON bpm.corrections USING btree (correction_no) WHERE (status <> 'done'::text);

CREATE INDEX credential_epochs_raised ON bpm.credential_epochs USING btree (raised_at);

CREATE INDEX deliveries_attempted ON bpm.deliveries USING btree (tenant_id, attempted_at) WHERE (attempted_at IS NOT NULL);

CREATE UNIQUE INDEX deliveries_digest ON bpm.deliveries USING btree (tenant_id, channel_id, quiet_until) WHERE collecting;

CREATE INDEX deliveries_due ON bpm.deliveries USING btree (tenant_id, channel_id, due_at) WHERE (state = 'pending'::text);

CREATE INDEX deliveries_ended ON bpm.deliveries USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX deliveries_newest ON bpm.deliveries USING btree (tenant_id, delivery_no DESC);

CREATE INDEX deliveries_of_channel ON bpm.deliveries USING btree (tenant_id, channel_id, delivery_no DESC);

CREATE INDEX deliveries_of_channel_state ON bpm.deliveries USING btree (tenant_id, channel_id, state, delivery_no);

CREATE INDEX deliveries_of_state ON bpm.deliveries USING btree (tenant_id, state, delivery_no DESC);

CREATE INDEX deliveries_waiting ON bpm.deliveries USING btree (queued_at) WHERE (state = 'pending'::text);

CREATE INDEX delivery_events_of_delivery ON bpm.delivery_events USING btree (tenant_id, delivery_id, partition_no, seq);

CREATE UNIQUE INDEX erasures_unfinished ON bpm.erasures USING btree (tenant_no) WHERE (erased_at IS NULL);

CREATE INDEX imports_by_time ON bpm.imports USING btree (tenant_id, created_at, id);

CREATE INDEX operator_sessions_of_operator ON bpm.operator_sessions USING btree (operator_id, created_at);

CREATE INDEX operators_by_invitation ON bpm.operators USING btree (invitation_digest);

CREATE INDEX pack_days_by_day ON bpm.pack_days USING btree (tenant_id, day);

CREATE INDEX platform_security_events_at ON bpm.platform_security_events USING brin (at);

CREATE INDEX quarantine_last_at ON bpm.quarantine USING btree (tenant_id, last_at, id);

CREATE INDEX rate_buckets_at ON bpm.rate_buckets USING btree (at);

CREATE INDEX readings_batch_no ON ONLY bpm.readings_class_0 USING brin (batch_no) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX readings_pack_ts ON ONLY bpm.readings_class_0 USING btree (pack_id, ts);

CREATE INDEX readings_ts ON ONLY bpm.readings_class_0 USING brin (ts) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX rule_transitions_by_time ON bpm.rule_transitions USING btree (tenant_id, rule_time, partition_no, seq) WHERE (kind = ANY (ARRAY['raised'::text, 'cleared'::text, 'late'::text, 'provisional'::text, 'withdrawn'::text]));

CREATE UNIQUE INDEX rule_transitions_log ON bpm.rule_transitions USING btree (partition_no, seq) WHERE (kind = ANY (ARRAY['raised'::text, 'cleared'::text, 'late'::text, 'provisional'::text, 'withdrawn'::text]));

CREATE INDEX rule_transitions_of_alert ON bpm.rule_transitions USING btree (tenant_id, rule_no, rule_version, subject_pack, subject_source, onset);

CREATE UNIQUE INDEX rules_name ON bpm.rules USING btree (tenant_id, name) WHERE (security_kind IS NULL);

CREATE INDEX security_counts_minute ON bpm.security_counts USING btree (minute);

CREATE INDEX security_events_at ON bpm.security_events USING brin (at);

CREATE INDEX service_accounts_deleted ON bpm.service_accounts USING btree (tenant_id, deleted_at) WHERE (deleted_at IS NOT NULL);

CREATE INDEX sessions_expired ON bpm.sessions USING btree (expires_at);

CREATE INDEX sessions_of_user ON bpm.sessions USING btree (tenant_id, user_id, created_at);

CREATE INDEX sign_in_failures_last ON bpm.sign_in_failures USING btree (last_at);

CREATE INDEX submissions_arrived ON bpm.submissions USING btree (arrived_at);

CREATE INDEX superseded_readings_batch ON bpm.superseded_readings USING btree (batch_no);

CREATE INDEX superseded_readings_correction ON bpm.superseded_readings USING brin (correction_no) WITH (pages_per_range='32');

CREATE INDEX superseded_readings_pack_ts ON bpm.superseded_readings USING btree (pack_id, ts);

CREATE INDEX superseded_readings_ts ON bpm.superseded_readings USING btree (ts);

CREATE INDEX tenures_by_pack ON bpm.tenures USING btree (pack_id, held_from);

CREATE INDEX tenures_changed ON bpm.tenures USING btree (changed_xid);

CREATE UNIQUE INDEX tenures_one_open ON bpm.tenures USING btree (pack_id) WHERE (held_to = 'infinity'::timestamp with time zone);

COMMENT ON INDEX bpm.tenures_one_open IS 'A pack has one holder at a time, of whichever tenant.';

CREATE UNIQUE INDEX tickets_digest ON bpm.tickets USING btree (digest);

CREATE INDEX tickets_expired ON bpm.tickets USING btree (tenant_id, expires_at);

CREATE INDEX user_sites_by_site ON bpm.user_sites USING btree (tenant_id, site_id);

CREATE INDEX users_by_invitation ON bpm.users USING btree (invitation_digest);

CREATE INDEX users_to_purge ON bpm.users USING btree (purge_at) WHERE (purge_at IS NOT NULL);

CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON bpm.audit_log FOR EACH STATEMENT EXECUTE FUNCTION bpm.guard_audit_log();

CREATE TRIGGER audit_log_keeps_the_last_90_days BEFORE DELETE ON bpm.audit_log FOR EACH ROW EXECUTE FUNCTION bpm.guard_audit_log();

CREATE TRIGGER guard AFTER DELETE ON bpm.batches REFERENCING OLD TABLE AS gone FOR EACH STATEMENT WHEN ((CURRENT_USER = 'bpm_retention'::name)) EXECUTE FUNCTION bpm.guard_receipts();

CREATE TRIGGER guard AFTER DELETE ON bpm.submissions REFERENCING OLD TABLE AS gone FOR EACH STATEMENT WHEN ((CURRENT_USER = 'bpm_retention'::name)) EXECUTE FUNCTION bpm.guard_submissions();

CREATE TRIGGER guard AFTER DELETE ON bpm.superseded_readings REFERENCING OLD TABLE AS gone FOR EACH STATEMENT WHEN ((CURRENT_USER = 'bpm_retention'::name)) EXECUTE FUNCTION bpm.guard_superseded();

CREATE TRIGGER platform_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON bpm.platform_log FOR EACH STATEMENT EXECUTE FUNCTION bpm.refuse_change();

CREATE TRIGGER tenures_note_change BEFORE UPDATE ON bpm.tenures FOR EACH ROW EXECUTE FUNCTION bpm.note_tenure_change();

ALTER TABLE ONLY bpm.access_grants
    ADD CONSTRAINT access_grants_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.alert_actions
    ADD CONSTRAINT alert_actions_tenant_id_alert_id_fkey FOREIGN KEY (tenant_id, alert_id) REFERENCES bpm.alerts(tenant_id, id);

ALTER TABLE ONLY bpm.alert_actions
    ADD CONSTRAINT alert_actions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.alert_clearances
    ADD CONSTRAINT alert_clearances_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.alert_clearances
    ADD CONSTRAINT alert_clearances_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.alert_topic_positions
    ADD CONSTRAINT alert_topic_positions_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.alerts
    ADD CONSTRAINT alerts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.api_keys
    ADD CONSTRAINT api_keys_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES bpm.service_accounts(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.api_keys
    ADD CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.audit_log
    ADD CONSTRAINT audit_log_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.batches
    ADD CONSTRAINT batches_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.batches
    ADD CONSTRAINT batches_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.batches
    ADD CONSTRAINT batches_tenant_id_import_id_fkey FOREIGN KEY (tenant_id, import_id) REFERENCES bpm.imports(tenant_id, id);

ALTER TABLE ONLY bpm.channels
    ADD CONSTRAINT channels_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.closed_changes
    ADD CONSTRAINT closed_changes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.correction_parts
    ADD CONSTRAINT correction_parts_correction_no_fkey FOREIGN KEY (correction_no) REFERENCES bpm.corrections(correction_no);

ALTER TABLE ONLY bpm.correction_parts
    ADD CONSTRAINT correction_parts_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.corrections
    ADD CONSTRAINT corrections_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.corrections
    ADD CONSTRAINT corrections_tenant_id_import_id_fkey FOREIGN KEY (tenant_id, import_id) REFERENCES bpm.imports(tenant_id, id);

ALTER TABLE ONLY bpm.corrections
    ADD CONSTRAINT corrections_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.credential_epochs
    ADD CONSTRAINT credential_epochs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.days_to_fold
    ADD CONSTRAINT days_to_fold_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.deliveries
    ADD CONSTRAINT deliveries_tenant_id_channel_id_fkey FOREIGN KEY (tenant_id, channel_id) REFERENCES bpm.channels(tenant_id, id);

ALTER TABLE ONLY bpm.deliveries
    ADD CONSTRAINT deliveries_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.delivery_events
    ADD CONSTRAINT delivery_events_tenant_id_delivery_id_fkey FOREIGN KEY (tenant_id, delivery_id) REFERENCES bpm.deliveries(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.dispatch_positions
    ADD CONSTRAINT dispatch_positions_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.group_days
    ADD CONSTRAINT group_days_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.groups_to_fold
    ADD CONSTRAINT groups_to_fold_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.imports
    ADD CONSTRAINT imports_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.ingest_days
    ADD CONSTRAINT ingest_days_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.key_aliases
    ADD CONSTRAINT key_aliases_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.models
    ADD CONSTRAINT models_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.operator_sessions
    ADD CONSTRAINT operator_sessions_operator_id_fkey FOREIGN KEY (operator_id) REFERENCES bpm.operators(id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.pack_group_members
    ADD CONSTRAINT pack_group_members_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.pack_group_members
    ADD CONSTRAINT pack_group_members_tenant_id_group_id_fkey FOREIGN KEY (tenant_id, group_id) REFERENCES bpm.pack_groups(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.pack_group_members
    ADD CONSTRAINT pack_group_members_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.pack_groups
    ADD CONSTRAINT pack_groups_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.packs
    ADD CONSTRAINT packs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.partition_reports
    ADD CONSTRAINT partition_reports_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.quarantine
    ADD CONSTRAINT quarantine_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.rate_buckets
    ADD CONSTRAINT rate_buckets_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.request_days
    ADD CONSTRAINT request_days_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.roles
    ADD CONSTRAINT roles_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.rule_states
    ADD CONSTRAINT rule_states_rule_no_fkey FOREIGN KEY (rule_no) REFERENCES bpm.rules(rule_no);

ALTER TABLE ONLY bpm.rule_transitions
    ADD CONSTRAINT rule_transitions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.rule_versions
    ADD CONSTRAINT rule_versions_tenant_id_rule_no_fkey FOREIGN KEY (tenant_id, rule_no) REFERENCES bpm.rules(tenant_id, rule_no);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_tenant_id_model_id_fkey FOREIGN KEY (tenant_id, model_id) REFERENCES bpm.models(tenant_id, id);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.rules
    ADD CONSTRAINT rules_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES bpm.sites(tenant_id, id);

ALTER TABLE ONLY bpm.security_counts
    ADD CONSTRAINT security_counts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.security_events
    ADD CONSTRAINT security_events_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.security_thresholds
    ADD CONSTRAINT security_thresholds_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.service_accounts
    ADD CONSTRAINT service_accounts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.service_accounts
    ADD CONSTRAINT service_accounts_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.sessions
    ADD CONSTRAINT sessions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.sessions
    ADD CONSTRAINT sessions_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES bpm.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_tenant_id_rule_no_fkey FOREIGN KEY (tenant_id, rule_no) REFERENCES bpm.rules(tenant_id, rule_no);

ALTER TABLE ONLY bpm.silences
    ADD CONSTRAINT silences_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES bpm.sites(tenant_id, id);

ALTER TABLE ONLY bpm.sites
    ADD CONSTRAINT sites_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.source_positions
    ADD CONSTRAINT source_positions_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.submissions
    ADD CONSTRAINT submissions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.superseded_readings
    ADD CONSTRAINT superseded_readings_correction_no_fkey FOREIGN KEY (correction_no) REFERENCES bpm.corrections(correction_no);

ALTER TABLE ONLY bpm.superseded_readings
    ADD CONSTRAINT superseded_readings_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.tenants
    ADD CONSTRAINT tenants_retention_class_fkey FOREIGN KEY (retention_class) REFERENCES bpm.retention_classes(class_no);

ALTER TABLE ONLY bpm.tenures
    ADD CONSTRAINT tenures_tenant_id_model_id_fkey FOREIGN KEY (tenant_id, model_id) REFERENCES bpm.models(tenant_id, id);

ALTER TABLE ONLY bpm.tenures
    ADD CONSTRAINT tenures_tenant_id_pack_id_fkey FOREIGN KEY (tenant_id, pack_id) REFERENCES bpm.packs(tenant_id, pack_id);

ALTER TABLE ONLY bpm.tenures
    ADD CONSTRAINT tenures_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES bpm.sites(tenant_id, id);

ALTER TABLE ONLY bpm.tickets
    ADD CONSTRAINT tickets_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.user_sites
    ADD CONSTRAINT user_sites_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.user_sites
    ADD CONSTRAINT user_sites_tenant_id_site_id_fkey FOREIGN KEY (tenant_id, site_id) REFERENCES bpm.sites(tenant_id, id);

ALTER TABLE ONLY bpm.user_sites
    ADD CONSTRAINT user_sites_tenant_id_user_id_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES bpm.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY bpm.users
    ADD CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE ONLY bpm.window_marks
    ADD CONSTRAINT window_marks_partition_no_fkey FOREIGN KEY (partition_no) REFERENCES bpm.partitions(partition_no);

ALTER TABLE ONLY bpm.window_notes
    ADD CONSTRAINT window_notes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES bpm.tenants(tenant_id);

ALTER TABLE bpm.access_grants ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.alert_actions ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.alert_clearances ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.alerts ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.api_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.audit_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.batches ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.channels ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.closed_changes ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.corrections ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.credential_epochs ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.days_to_fold ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.delivery_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.group_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.groups_to_fold ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.imports ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.ingest_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.key_aliases ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.models ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_group_members ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.pack_groups ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.packs ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.quarantine ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.quarters ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.rate_buckets ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.readings_class_0 ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.request_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.roles ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.rule_transitions ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.rule_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.rules ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_counts ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.security_thresholds ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.service_accounts ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.sessions ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.silences ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.sites ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.submissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.superseded_readings ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bpm.access_grants TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.alert_actions TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.alert_clearances TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.alerts TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.api_keys TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.audit_log TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.batches TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.channels TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.closed_changes TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.corrections TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.credential_epochs TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.days_to_fold TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.deliveries TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.delivery_events TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.group_days TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.groups_to_fold TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.imports TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.ingest_days TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.key_aliases TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.models TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.pack_days TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.pack_group_members TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.pack_groups TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.packs TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.quarantine TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.quarters TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.rate_buckets TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.readings_class_0 TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.request_days TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.roles TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.rule_transitions TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.rule_versions TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.rules TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.security_counts TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.security_events TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.security_thresholds TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.service_accounts TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.sessions TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.silences TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.sites TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.submissions TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.superseded_readings TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.tenants TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.tenures TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.tickets TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.user_sites TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.users TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

CREATE POLICY tenant ON bpm.window_notes TO bpm_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('bpm.tenant_id'::text, true), ''::text))::integer AS "nullif")));

ALTER TABLE bpm.tenants ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.tenures ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.tickets ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.user_sites ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.users ENABLE ROW LEVEL SECURITY;

ALTER TABLE bpm.window_notes ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA bpm TO bpm_app;
GRANT USAGE ON SCHEMA bpm TO bpm_ingest;
GRANT USAGE ON SCHEMA bpm TO bpm_retention;
GRANT USAGE ON SCHEMA bpm TO bpm_eraser;

REVOKE ALL ON FUNCTION bpm.archive_readings(of_class smallint, before timestamp with time zone, now timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.archive_readings(of_class smallint, before timestamp with time zone, now timestamp with time zone) TO bpm_retention;

REVOKE ALL ON FUNCTION bpm.days_ago(days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.days_ago(days integer) TO bpm_retention;

REVOKE ALL ON FUNCTION bpm.drop_readings_part(part text) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.drop_readings_part(part text) TO bpm_retention;

GRANT SELECT ON TABLE bpm.submissions TO bpm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.submissions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.submissions TO bpm_eraser;
GRANT DELETE ON TABLE bpm.submissions TO bpm_retention;

GRANT SELECT(ctid) ON TABLE bpm.submissions TO bpm_retention;

GRANT SELECT(arrived_at) ON TABLE bpm.submissions TO bpm_retention;

REVOKE ALL ON FUNCTION bpm.make_class_table(class_no smallint) FROM PUBLIC;

REVOKE ALL ON FUNCTION bpm.make_quarters_partition(month timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.make_quarters_partition(month timestamp with time zone) TO bpm_ingest;

REVOKE ALL ON FUNCTION bpm.make_readings_partition(class_no smallint, partition_name text, starts timestamp with time zone, ends timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.make_readings_partition(class_no smallint, partition_name text, starts timestamp with time zone, ends timestamp with time zone) TO bpm_ingest;

REVOKE ALL ON FUNCTION bpm.readings_dropped_before(of_class smallint) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.readings_dropped_before(of_class smallint) TO bpm_retention;

REVOKE ALL ON FUNCTION bpm.readings_parts(ended_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.readings_parts(ended_before timestamp with time zone) TO bpm_retention;

REVOKE ALL ON FUNCTION bpm.remake_readings_view() FROM PUBLIC;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.sites TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.sites TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.sites TO bpm_eraser;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.user_sites TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.user_sites TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.user_sites TO bpm_eraser;

REVOKE ALL ON FUNCTION bpm.tenants_readings_dropped_before() FROM PUBLIC;
GRANT ALL ON FUNCTION bpm.tenants_readings_dropped_before() TO bpm_retention;

GRANT SELECT,DELETE ON TABLE bpm.access_grants TO bpm_eraser;
GRANT SELECT,INSERT ON TABLE bpm.access_grants TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.access_grants TO bpm_ingest;

GRANT UPDATE(revoked_at) ON TABLE bpm.access_grants TO bpm_app;
GRANT UPDATE(revoked_at) ON TABLE bpm.access_grants TO bpm_ingest;

GRANT UPDATE(revoked_by) ON TABLE bpm.access_grants TO bpm_app;
GRANT UPDATE(revoked_by) ON TABLE bpm.access_grants TO bpm_ingest;

GRANT SELECT ON TABLE bpm.alert_actions TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.alert_actions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.alert_actions TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.alert_clearances TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.alert_clearances TO bpm_eraser;

GRANT SELECT ON TABLE bpm.alerts TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.alerts TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.alerts TO bpm_eraser;

GRANT SELECT ON TABLE bpm.rule_transitions TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.rule_transitions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.rule_transitions TO bpm_eraser;

GRANT SELECT ON TABLE bpm.alert_events TO bpm_app;
GRANT SELECT ON TABLE bpm.alert_events TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.alert_events TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.alert_topic_positions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.alert_topic_positions TO bpm_eraser;

GRANT USAGE ON SEQUENCE bpm.alerts_alert_no_seq TO bpm_ingest;

GRANT INSERT ON TABLE bpm.api_keys TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.api_keys TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.api_keys TO bpm_eraser;

GRANT SELECT(tenant_id) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(key_id) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(account_id) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(name) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(roles) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(site_ids) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(expires_at) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(revoked_at),UPDATE(revoked_at) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(last_used_at) ON TABLE bpm.api_keys TO bpm_app;
GRANT UPDATE(last_used_at) ON TABLE bpm.api_keys TO bpm_ingest;

GRANT SELECT(created_by) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT(created_at) ON TABLE bpm.api_keys TO bpm_app;

GRANT SELECT,INSERT ON TABLE bpm.audit_log TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.audit_log TO bpm_ingest;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.audit_log TO bpm_retention;
GRANT SELECT,DELETE ON TABLE bpm.audit_log TO bpm_eraser;

GRANT USAGE ON SEQUENCE bpm.audit_log_id_seq TO bpm_ingest;

GRANT USAGE ON SEQUENCE bpm.batch_numbers TO bpm_ingest;

GRANT SELECT ON TABLE bpm.batches TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.batches TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.batches TO bpm_eraser;
GRANT DELETE ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(tenant_id) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(id) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(batch_no) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(partition_no) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(import_id) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(arrived_at) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(first_ts) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(last_ts) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT(part_of) ON TABLE bpm.batches TO bpm_retention;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.channels TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.channels TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.channels TO bpm_eraser;

GRANT SELECT ON TABLE bpm.closed_changes TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.closed_changes TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.closed_changes TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.corrected_packs TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.corrected_packs TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.correction_parts TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.correction_parts TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.corrections TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.corrections TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.corrections TO bpm_eraser;

GRANT SELECT(tenant_id) ON TABLE bpm.corrections TO bpm_retention;

GRANT SELECT(starts) ON TABLE bpm.corrections TO bpm_retention;

GRANT SELECT(status) ON TABLE bpm.corrections TO bpm_retention;

GRANT USAGE ON SEQUENCE bpm.corrections_correction_no_seq TO bpm_ingest;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.credential_epochs TO bpm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.credential_epochs TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.credential_epochs TO bpm_eraser;

GRANT USAGE ON SEQUENCE bpm.credential_epochs_epoch_seq TO bpm_app;
GRANT USAGE ON SEQUENCE bpm.credential_epochs_epoch_seq TO bpm_ingest;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.day_marks TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.day_marks TO bpm_eraser;

GRANT SELECT ON TABLE bpm.days_to_fold TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.days_to_fold TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.days_to_fold TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.deliveries TO bpm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.deliveries TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.deliveries TO bpm_eraser;

GRANT USAGE ON SEQUENCE bpm.deliveries_delivery_no_seq TO bpm_ingest;

GRANT SELECT ON TABLE bpm.delivery_events TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.delivery_events TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.delivery_events TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.dispatch_positions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.dispatch_positions TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.erasures TO bpm_eraser;
GRANT SELECT ON TABLE bpm.erasures TO bpm_ingest;

GRANT SELECT ON TABLE bpm.group_days TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.group_days TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.group_days TO bpm_eraser;

GRANT SELECT ON TABLE bpm.groups_to_fold TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.groups_to_fold TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.groups_to_fold TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.imports TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.imports TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.imports TO bpm_eraser;

GRANT UPDATE(undone_at) ON TABLE bpm.imports TO bpm_app;

GRANT SELECT ON TABLE bpm.ingest_days TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.ingest_days TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.ingest_days TO bpm_eraser;

GRANT SELECT ON TABLE bpm.installation TO bpm_app;
GRANT SELECT,UPDATE ON TABLE bpm.installation TO bpm_ingest;
GRANT SELECT ON TABLE bpm.installation TO bpm_eraser;
GRANT SELECT ON TABLE bpm.installation TO bpm_retention;

GRANT UPDATE(clock_trusted_until) ON TABLE bpm.installation TO bpm_retention;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.key_aliases TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.key_aliases TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.key_aliases TO bpm_eraser;

GRANT SELECT,DELETE ON TABLE bpm.lost_ranges TO bpm_eraser;
GRANT SELECT ON TABLE bpm.lost_ranges TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.lost_ranges TO bpm_ingest;

GRANT SELECT ON TABLE bpm.migrations TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.models TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.models TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.models TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.operator_sessions TO bpm_ingest;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.operators TO bpm_ingest;

GRANT SELECT ON TABLE bpm.pack_days TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.pack_days TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.pack_days TO bpm_eraser;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.pack_group_members TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.pack_group_members TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.pack_group_members TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.pack_groups TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.pack_groups TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.pack_groups TO bpm_eraser;

GRANT USAGE ON SEQUENCE bpm.pack_numbers TO bpm_app;
GRANT USAGE ON SEQUENCE bpm.pack_numbers TO bpm_ingest;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.pack_state TO bpm_ingest;
GRANT SELECT,DELETE,UPDATE ON TABLE bpm.pack_state TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.packs TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.packs TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.packs TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.partition_reports TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.partition_reports TO bpm_eraser;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.partitions TO bpm_ingest;
GRANT SELECT ON TABLE bpm.partitions TO bpm_eraser;
GRANT SELECT ON TABLE bpm.partitions TO bpm_retention;

GRANT SELECT(partition_no) ON TABLE bpm.partitions TO bpm_app;

GRANT UPDATE(arrivals) ON TABLE bpm.partitions TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.platform_epochs TO bpm_ingest;

GRANT SELECT,INSERT ON TABLE bpm.platform_log TO bpm_ingest;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.platform_security_events TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.platform_security_events TO bpm_eraser;

GRANT SELECT,DELETE ON TABLE bpm.quarantine TO bpm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.quarantine TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.quarantine TO bpm_eraser;

GRANT UPDATE(redrives) ON TABLE bpm.quarantine TO bpm_app;

GRANT USAGE ON SEQUENCE bpm.quarantine_id_seq TO bpm_ingest;

GRANT SELECT ON TABLE bpm.quarters TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.quarters TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.quarters TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.rate_buckets TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.rate_buckets TO bpm_eraser;

GRANT SELECT ON TABLE bpm.readings_class_0 TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.readings_class_0 TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.readings_class_0 TO bpm_eraser;

GRANT SELECT ON TABLE bpm.readings TO bpm_eraser;
GRANT SELECT ON TABLE bpm.readings TO bpm_ingest;
GRANT SELECT ON TABLE bpm.readings TO bpm_app;

GRANT SELECT ON TABLE bpm.request_days TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.request_days TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.request_days TO bpm_eraser;

GRANT SELECT ON TABLE bpm.retention_classes TO bpm_eraser;
GRANT SELECT ON TABLE bpm.retention_classes TO bpm_ingest;
GRANT SELECT ON TABLE bpm.retention_classes TO bpm_retention;

GRANT SELECT(class_no) ON TABLE bpm.retention_classes TO bpm_app;

GRANT SELECT(archived_before) ON TABLE bpm.retention_classes TO bpm_app;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.roles TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.roles TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.roles TO bpm_eraser;

GRANT UPDATE(description) ON TABLE bpm.roles TO bpm_app;

GRANT UPDATE(actions) ON TABLE bpm.roles TO bpm_app;

GRANT UPDATE(version) ON TABLE bpm.roles TO bpm_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.rule_states TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.rule_states TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.rule_versions TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.rule_versions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.rule_versions TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.rules TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.rules TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.rules TO bpm_eraser;

GRANT UPDATE(name) ON TABLE bpm.rules TO bpm_app;

GRANT UPDATE(version) ON TABLE bpm.rules TO bpm_app;

GRANT USAGE ON SEQUENCE bpm.rules_rule_no_seq TO bpm_ingest;

GRANT SELECT,DELETE ON TABLE bpm.security_counts TO bpm_eraser;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.security_counts TO bpm_ingest;

GRANT SELECT ON TABLE bpm.security_events TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.security_events TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.security_events TO bpm_eraser;

GRANT SELECT,DELETE ON TABLE bpm.security_thresholds TO bpm_eraser;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.security_thresholds TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.security_thresholds TO bpm_ingest;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.service_accounts TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.service_accounts TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.service_accounts TO bpm_eraser;

GRANT UPDATE(name) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(description) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(roles) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(site_ids) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(regions) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(state) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(deleted_at) ON TABLE bpm.service_accounts TO bpm_app;

GRANT UPDATE(version) ON TABLE bpm.service_accounts TO bpm_app;

GRANT DELETE ON TABLE bpm.sessions TO bpm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.sessions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.sessions TO bpm_eraser;

GRANT SELECT(tenant_id) ON TABLE bpm.sessions TO bpm_app;

GRANT SELECT(id) ON TABLE bpm.sessions TO bpm_app;

GRANT SELECT(user_id) ON TABLE bpm.sessions TO bpm_app;

GRANT SELECT(created_at) ON TABLE bpm.sessions TO bpm_app;

GRANT SELECT(expires_at) ON TABLE bpm.sessions TO bpm_app;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.tenures TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.tenures TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.tenures TO bpm_eraser;

GRANT SELECT ON TABLE bpm.shown_alerts TO bpm_app;
GRANT SELECT ON TABLE bpm.shown_alerts TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.shown_alerts TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.sign_in_failures TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.sign_in_failures TO bpm_eraser;

GRANT SELECT,INSERT ON TABLE bpm.silences TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.silences TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.silences TO bpm_eraser;

GRANT UPDATE(deleted_at) ON TABLE bpm.silences TO bpm_app;

GRANT USAGE ON SEQUENCE bpm.silences_silence_no_seq TO bpm_ingest;

GRANT SELECT,INSERT,UPDATE ON TABLE bpm.source_positions TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.source_positions TO bpm_eraser;

GRANT SELECT ON TABLE bpm.superseded_readings TO bpm_app;
GRANT SELECT,INSERT ON TABLE bpm.superseded_readings TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.superseded_readings TO bpm_eraser;
GRANT DELETE ON TABLE bpm.superseded_readings TO bpm_retention;

GRANT SELECT(ctid) ON TABLE bpm.superseded_readings TO bpm_retention;

GRANT SELECT(tenant_id) ON TABLE bpm.superseded_readings TO bpm_retention;

GRANT SELECT(ts) ON TABLE bpm.superseded_readings TO bpm_retention;

GRANT SELECT ON TABLE bpm.tenants TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.tenants TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.tenants TO bpm_eraser;

GRANT SELECT(tenant_id) ON TABLE bpm.tenants TO bpm_retention;

GRANT UPDATE(registry_version) ON TABLE bpm.tenants TO bpm_app;
GRANT SELECT(registry_version),UPDATE(registry_version) ON TABLE bpm.tenants TO bpm_retention;

GRANT UPDATE(rules_version) ON TABLE bpm.tenants TO bpm_app;

GRANT UPDATE(key_aliases_version) ON TABLE bpm.tenants TO bpm_app;

GRANT UPDATE(erasing_since) ON TABLE bpm.tenants TO bpm_eraser;

GRANT SELECT(retention_class) ON TABLE bpm.tenants TO bpm_retention;

GRANT SELECT ON TABLE bpm.tenant_lines TO bpm_eraser;
GRANT SELECT ON TABLE bpm.tenant_lines TO bpm_app;
GRANT SELECT ON TABLE bpm.tenant_lines TO bpm_ingest;

GRANT USAGE ON SEQUENCE bpm.tenures_tenure_no_seq TO bpm_ingest;

GRANT SELECT,INSERT,DELETE ON TABLE bpm.tickets TO bpm_app;
GRANT SELECT,DELETE ON TABLE bpm.tickets TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.tickets TO bpm_eraser;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE bpm.users TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.users TO bpm_eraser;

GRANT SELECT(tenant_id),INSERT(tenant_id) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(id) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(login),INSERT(login),UPDATE(login) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(state),UPDATE(state) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(roles),INSERT(roles),UPDATE(roles) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(all_sites),INSERT(all_sites),UPDATE(all_sites) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(has_password) ON TABLE bpm.users TO bpm_app;

GRANT INSERT(invitation_digest),UPDATE(invitation_digest) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(invitation_expires_at),INSERT(invitation_expires_at),UPDATE(invitation_expires_at) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(created_at),INSERT(created_at) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(purge_at),UPDATE(purge_at) ON TABLE bpm.users TO bpm_app;

GRANT SELECT(version),UPDATE(version) ON TABLE bpm.users TO bpm_app;

GRANT SELECT ON TABLE bpm.window_marks TO bpm_app;
GRANT SELECT,INSERT,UPDATE ON TABLE bpm.window_marks TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.window_marks TO bpm_eraser;
GRANT SELECT ON TABLE bpm.window_marks TO bpm_retention;

GRANT SELECT,INSERT ON TABLE bpm.window_notes TO bpm_app;
GRANT SELECT,INSERT,DELETE ON TABLE bpm.window_notes TO bpm_ingest;
GRANT SELECT,DELETE ON TABLE bpm.window_notes TO bpm_eraser;

GRANT SELECT(tenant_id) ON TABLE bpm.window_notes TO bpm_retention;

GRANT SELECT(starts) ON TABLE bpm.window_notes TO bpm_retention;

ALTER DEFAULT PRIVILEGES FOR ROLE bpm_owner IN SCHEMA bpm GRANT SELECT,DELETE ON TABLES TO bpm_eraser;
