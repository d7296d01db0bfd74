-- Service accounts and devices, and the API keys with which they call.

CREATE TABLE service_accounts (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('service', 'device')),
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    roles text[] NOT NULL,
    site_ids uuid[],
    regions text[],
    pack_id integer,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    deleted_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, kind, name),
    FOREIGN KEY (tenant_id, pack_id) REFERENCES packs (tenant_id, pack_id),
    CHECK ((kind = 'device') = (pack_id IS NOT NULL))
);
CREATE INDEX service_accounts_deleted ON service_accounts (tenant_id, deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE service_accounts IS
    'Who calls without being a person. A device sends the readings of its own pack alone.';
COMMENT ON COLUMN service_accounts.deleted_at IS
    'From then on its keys are refused; until its grace has passed it can be restored.';

CREATE TABLE api_keys (
    tenant_id integer NOT NULL REFERENCES tenants,
    key_id text NOT NULL CHECK (key_id ~ '^[0-9A-Za-z]{12}$'),
    account_id uuid NOT NULL,
    key_hash bytea NOT NULL CHECK (length(key_hash) = 32),
    name text NOT NULL,
    roles text[],
    site_ids uuid[],
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES service_accounts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX api_keys_by_id ON api_keys (key_id);
CREATE INDEX api_keys_of_account ON api_keys (tenant_id, account_id, key_id);
COMMENT ON COLUMN api_keys.key_id IS 'Random, about 71 bits: one of its own, whatever the tenant.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the whole key; its secret has 256 random bits.';
COMMENT ON COLUMN api_keys.roles IS 'Narrower than those of its account; NULL for all of them. So are sites.';
COMMENT ON COLUMN api_keys.last_used_at IS 'Coarse: written at most once in BPM_API_KEY_USED_S.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['service_accounts', 'api_keys'] LOOP
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

GRANT SELECT, INSERT, DELETE ON service_accounts TO bpm_app;
GRANT UPDATE (name, description, roles, site_ids, regions, state, deleted_at, version) ON service_accounts TO bpm_app;
GRANT INSERT ON api_keys TO bpm_app;
-- All but the hash, which no request reads.
GRANT SELECT (
    tenant_id, key_id, account_id, name, roles, site_ids, expires_at, revoked_at, last_used_at, created_by, created_at
) ON api_keys TO bpm_app;
GRANT UPDATE (revoked_at) ON api_keys TO bpm_app;
GRANT SELECT ON service_accounts, api_keys TO bpm_ingest;
GRANT UPDATE (last_used_at) ON api_keys TO bpm_ingest;
