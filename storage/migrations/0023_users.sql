-- Users of tenants, the sessions in which they are signed in, and which credentials have ended before their time.

CREATE TABLE users (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    login text NOT NULL,
    state text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'suspended', 'deleted')),
    roles text[] NOT NULL,
    all_sites boolean NOT NULL,
    password_hash text,
    has_password boolean NOT NULL GENERATED ALWAYS AS (password_hash IS NOT NULL) STORED,
    invitation_digest bytea,
    invitation_expires_at timestamptz,
    created_at timestamptz NOT NULL,
    purge_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, login),
    CHECK ((state = 'deleted') = (purge_at IS NOT NULL)),
    CHECK ((invitation_digest IS NULL) = (invitation_expires_at IS NULL)),
    CHECK (state <> 'active' OR password_hash IS NOT NULL)
);
CREATE INDEX users_by_invitation ON users (invitation_digest);
CREATE INDEX users_to_purge ON users (purge_at) WHERE purge_at IS NOT NULL;
COMMENT ON COLUMN users.login IS 'Login name or e-mail address in small letters; taken until the user is purged.';
COMMENT ON COLUMN users.all_sites IS 'Whether the user is not limited to the sites of user_sites.';
COMMENT ON COLUMN users.purge_at IS 'When nothing but the id is left of a deleted user, in the audit log.';

CREATE TABLE user_sites (
    tenant_id integer NOT NULL REFERENCES tenants,
    user_id uuid NOT NULL,
    site_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, user_id, site_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id)
);
CREATE INDEX user_sites_by_site ON user_sites (tenant_id, site_id);

CREATE FUNCTION sites_of_user(of_tenant integer, of_user uuid) RETURNS text[] LANGUAGE sql STABLE
RETURN ARRAY(
    SELECT sites.name FROM bpm.user_sites
    JOIN bpm.sites ON sites.tenant_id = user_sites.tenant_id AND sites.id = user_sites.site_id
    WHERE user_sites.tenant_id = of_tenant AND user_sites.user_id = of_user
    ORDER BY sites.name
);
COMMENT ON FUNCTION sites_of_user IS 'Names of the sites to which a user is limited.';

CREATE TABLE sessions (
    tenant_id integer NOT NULL REFERENCES tenants,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    handle_digest bytea NOT NULL UNIQUE,
    secret_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_of_user ON sessions (tenant_id, user_id, created_at);
CREATE INDEX sessions_expired ON sessions (expires_at);
COMMENT ON TABLE sessions IS
    'A family of refresh tokens: all of one session have its handle, and the secret of the newest one alone is good.';

CREATE SEQUENCE credential_epochs_epoch_seq;
CREATE TABLE credential_epochs (
    tenant_id integer NOT NULL REFERENCES tenants,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    raised_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, holder)
);
CREATE INDEX credential_epochs_raised ON credential_epochs (raised_at);
COMMENT ON TABLE credential_epochs IS
    'Access tokens of a subject or session with a lower epoch have ended; a row goes when none of them can live any more.';

CREATE TABLE sign_in_failures (
    digest bytea PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);
COMMENT ON TABLE sign_in_failures IS
    'By the hash of tenant and login, whether or not there are such: the answer must not tell.';

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['users', 'user_sites', 'sessions', 'credential_epochs'] LOOP
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

-- The app reads no hash of a password and no digest: who signs in is looked up across tenants.
GRANT SELECT (tenant_id, id, login, state, roles, all_sites, has_password, invitation_expires_at, created_at, purge_at, version)
    ON users TO bpm_app;
GRANT INSERT (tenant_id, login, roles, all_sites, invitation_digest, invitation_expires_at, created_at) ON users TO bpm_app;
GRANT UPDATE (login, state, roles, all_sites, invitation_digest, invitation_expires_at, purge_at, version) ON users TO bpm_app;
GRANT SELECT, INSERT, DELETE ON user_sites TO bpm_app;
GRANT SELECT (tenant_id, id, user_id, created_at, expires_at), DELETE ON sessions TO bpm_app;
GRANT SELECT, INSERT, UPDATE ON credential_epochs TO bpm_app;
GRANT USAGE ON SEQUENCE credential_epochs_epoch_seq TO bpm_app, bpm_ingest;

GRANT SELECT, INSERT, UPDATE, DELETE ON users, sessions, credential_epochs, sign_in_failures TO bpm_ingest;
GRANT SELECT, INSERT ON user_sites TO bpm_ingest;
