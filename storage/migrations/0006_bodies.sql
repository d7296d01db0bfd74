-- Quarantine keeps what a second judgement needs, under ids that tell nothing of other tenants; keys have aliases.

ALTER TABLE quarantine
    ADD COLUMN uid uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN form text NOT NULL DEFAULT 'json',
    ADD COLUMN pack text,
    ADD COLUMN mode text NOT NULL DEFAULT 'live',
    ADD COLUMN import_id uuid,
    ADD COLUMN subject text NOT NULL DEFAULT '',
    ADD COLUMN pack_limit text,
    ADD COLUMN own_device boolean NOT NULL DEFAULT false,
    ADD COLUMN site_limit jsonb,
    ADD COLUMN redrives integer NOT NULL DEFAULT 0,
    ADD UNIQUE (tenant_id, uid);
-- Forced row-level security hides the rows from their owner too.
ALTER TABLE quarantine NO FORCE ROW LEVEL SECURITY;
UPDATE quarantine SET mode = 'import', import_id = substr(source, 8)::uuid WHERE source LIKE 'import %';
ALTER TABLE quarantine FORCE ROW LEVEL SECURITY;
CREATE INDEX quarantine_last_at ON quarantine (tenant_id, last_at, id);
COMMENT ON COLUMN quarantine.uid IS 'The id that is shown; `id` orders the list.';
COMMENT ON COLUMN quarantine.form IS 'How `raw` is written: json, csv (header and row), thingsboard.';
COMMENT ON COLUMN quarantine.pack IS 'External id that the item names, where it can be read.';
COMMENT ON COLUMN quarantine.subject IS 'Who sent the item first.';
COMMENT ON COLUMN quarantine.pack_limit IS 'The only pack that its sender may name; a second judgement holds to it, as to own_device and site_limit.';
COMMENT ON COLUMN quarantine.redrives IS 'How often the item was judged again, in vain; makes each try a batch of its own.';

ALTER TABLE tenants ADD COLUMN key_aliases_version integer NOT NULL DEFAULT 1;

CREATE TABLE key_aliases (
    tenant_id integer NOT NULL REFERENCES tenants,
    alias text NOT NULL,
    key text NOT NULL,
    factor double precision NOT NULL DEFAULT 1,
    "offset" double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, alias)
);
COMMENT ON TABLE key_aliases IS 'Other names of a reading''s keys; value = what stands there times factor plus offset.';

ALTER TABLE key_aliases ENABLE ROW LEVEL SECURITY;
ALTER TABLE key_aliases FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON key_aliases TO bpm_app
    USING (tenant_id = (SELECT nullif(current_setting('bpm.tenant_id', true), '')::integer));

GRANT SELECT, INSERT, DELETE ON key_aliases TO bpm_app;
GRANT SELECT ON key_aliases TO bpm_ingest;
GRANT UPDATE (key_aliases_version) ON tenants TO bpm_app;
GRANT DELETE, UPDATE (redrives) ON quarantine TO bpm_app;
GRANT DELETE ON quarantine TO bpm_ingest;
