-- Audit entries say from where and about which site, and old ones may be dropped, by one role alone.

ALTER TABLE audit_log
    ADD COLUMN client_address text,
    ADD COLUMN site text;
COMMENT ON COLUMN audit_log.client_address IS 'Of the client that asked; NULL for what the engine or a command did.';
COMMENT ON COLUMN audit_log.site IS 'Name that the record''s site had; NULL for what belongs to no one site.';
CREATE INDEX audit_log_at ON audit_log USING brin (at);

ALTER TABLE alert_clearances ADD COLUMN client_address text;

-- Nobody changes an entry. Whoever serves requests can't drop one either: that is for a role which can do nothing else,
-- and even it can't touch the last 90 days, so that a wrong setting, or a stolen login, leaves what just happened.
CREATE FUNCTION guard_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'bpm_retention' THEN
        IF TG_LEVEL = 'STATEMENT' THEN
            RETURN NULL;
        ELSIF OLD.at < clock_timestamp() - interval '90 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
DROP TRIGGER audit_log_append_only ON audit_log;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION guard_audit_log();
CREATE TRIGGER audit_log_keeps_the_last_90_days BEFORE DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION guard_audit_log();

GRANT USAGE ON SCHEMA bpm TO bpm_retention;
GRANT SELECT, INSERT, DELETE ON audit_log TO bpm_retention;
