-- Tickets, with which a browser opens a socket: a WebSocket takes no Authorization header.

CREATE TABLE tickets (
    tenant_id integer NOT NULL REFERENCES tenants,
    digest bytea NOT NULL,
    claims jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
CREATE UNIQUE INDEX tickets_digest ON tickets (digest);
CREATE INDEX tickets_expired ON tickets (tenant_id, expires_at);
COMMENT ON TABLE tickets IS 'Unused tickets by their hash, with what the token said that they were asked with.';

ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tickets TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

GRANT SELECT, INSERT, DELETE ON tickets TO bpm_app;
GRANT SELECT, DELETE ON tickets TO bpm_ingest;
