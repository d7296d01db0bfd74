-- What the live picture needs: which tenures changed since the writer last looked, and when packs last reported.

-- Of the transaction that wrote the row, which is exact in any order of commits; a sequence or a clock is not.
ALTER TABLE tenures ADD COLUMN changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX tenures_changed ON tenures (changed_xid);
COMMENT ON COLUMN tenures.changed_xid IS
    'Transaction that wrote the row last. After a restore elsewhere it may be anything, until the row changes again.';

CREATE FUNCTION note_tenure_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END
$$;
CREATE TRIGGER tenures_note_change BEFORE UPDATE ON tenures FOR EACH ROW EXECUTE FUNCTION note_tenure_change();

ALTER TABLE pack_state
    ADD COLUMN live_tenant_id integer,
    ADD COLUMN live_arrived_ms bigint,
    ADD COLUMN live_newest_ts_ms bigint,
    ADD COLUMN live_skew_ms bigint;
COMMENT ON COLUMN pack_state.live_arrived_ms IS
    'When the last live reading arrived, and whose it was; the newest live event time, and its arrival minus it. NULL before.';
