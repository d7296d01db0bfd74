-- Who runs the installation: operators, who belong to no tenant; what they do; and what tenants let them see for a time.

CREATE TABLE operators (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    login text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'suspended')),
    password_hash text,
    invitation_digest bytea,
    invitation_expires_at timestamptz,
    created_at timestamptz NOT NULL,
    CHECK ((invitation_digest IS NULL) = (invitation_expires_at IS NULL)),
    CHECK (state <> 'active' OR password_hash IS NOT NULL)
);
CREATE INDEX operators_by_invitation ON operators (invitation_digest);
COMMENT ON COLUMN operators.login IS 'Login name or e-mail address in small letters.';

CREATE TABLE operator_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    operator_id uuid NOT NULL REFERENCES operators ON DELETE CASCADE,
    handle_digest bytea NOT NULL UNIQUE,
    secret_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX operator_sessions_of_operator ON operator_sessions (operator_id, created_at);
COMMENT ON TABLE operator_sessions IS 'As sessions, of operators.';

CREATE TABLE platform_epochs (
    holder text PRIMARY KEY,
    epoch bigint NOT NULL,
    raised_at timestamptz NOT NULL
);
COMMENT ON TABLE platform_epochs IS 'As credential_epochs, of operators and their sessions.';

CREATE TABLE platform_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject text NOT NULL,
    client_address text,
    action text NOT NULL,
    resource text NOT NULL,
    resource_id text NOT NULL,
    after jsonb,
    request_id text NOT NULL
);
COMMENT ON TABLE platform_log IS
    'What was done to tenants and operators, by whom: nothing of what tenants hold. It outlives them, and is never changed.';

CREATE TRIGGER platform_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON platform_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE access_grants (
    tenant_id integer NOT NULL REFERENCES tenants,
    grant_no bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subject text,
    roles text[] NOT NULL,
    reason text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    PRIMARY KEY (tenant_id, grant_no),
    UNIQUE (tenant_id, id),
    CHECK (ends_at > granted_at),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
COMMENT ON TABLE access_grants IS 'What a tenant lets operators of the installation do in it, until when and why.';
COMMENT ON COLUMN access_grants.subject IS 'The one operator for whom it is; NULL for all.';

ALTER TABLE access_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_grants TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

GRANT SELECT, INSERT ON access_grants TO bpm_app;
GRANT UPDATE (revoked_at, revoked_by) ON access_grants TO bpm_app;
GRANT SELECT, INSERT ON access_grants TO bpm_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON operators, operator_sessions, platform_epochs TO bpm_ingest;
GRANT SELECT, INSERT ON platform_log TO bpm_ingest;
-- A tenant's first administrator is invited in the transaction that says so in the platform's log.
GRANT DELETE ON user_sites TO bpm_ingest;

-- Nothing of them is a tenant's.
REVOKE ALL ON operators, operator_sessions, platform_epochs, platform_log FROM bpm_eraser;
