-- Groups of packs that a tenant keeps under a name.

CREATE TABLE pack_groups (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);
COMMENT ON COLUMN pack_groups.version IS 'Raised by every edit, also of the members.';

CREATE TABLE pack_group_members (
    tenant_id integer NOT NULL REFERENCES tenants,
    group_id uuid NOT NULL,
    pack_id integer NOT NULL,
    PRIMARY KEY (tenant_id, group_id, pack_id),
    FOREIGN KEY (tenant_id, group_id) REFERENCES pack_groups (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id)
);

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['pack_groups', 'pack_group_members'] LOOP
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

GRANT SELECT, INSERT, UPDATE, DELETE ON pack_groups TO bpm_app;
GRANT SELECT, INSERT, DELETE ON pack_group_members TO bpm_app;
GRANT SELECT ON pack_groups, pack_group_members TO bpm_ingest;
