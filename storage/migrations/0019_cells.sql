-- Tenants are placed on cells: installations that share nothing. A tenant's row says where it is.

ALTER TABLE tenants
    ADD COLUMN placement text NOT NULL DEFAULT 'here' CHECK (placement IN ('here', 'leaving', 'sealed', 'moved')),
    ADD COLUMN cell text,
    ADD COLUMN cell_url text,
    ADD COLUMN arrived_from text UNIQUE,
    ADD CHECK ((placement = 'here') = (cell IS NULL) AND (cell IS NULL) = (cell_url IS NULL));
COMMENT ON COLUMN tenants.placement IS
    'here; leaving: nothing new is taken in; sealed: nothing of it changes any more, a copy may be taken; moved: it is on the cell.';
COMMENT ON COLUMN tenants.arrived_from IS 'Installation and number under which it was known where it came from.';

ALTER TABLE installation
    ADD COLUMN arrived_batch_no bigint NOT NULL DEFAULT 0 CHECK (arrived_batch_no <= 0),
    ADD COLUMN arrived_seq bigint NOT NULL DEFAULT 0 CHECK (arrived_seq <= 0);
COMMENT ON COLUMN installation.arrived_batch_no IS
    'Batches that arrived with tenants from other cells have numbers from here to -1: before all that were ever given here.';
COMMENT ON COLUMN installation.arrived_seq IS 'The same of the numbers in the alert log.';

ALTER TABLE partitions ADD COLUMN arrivals bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN partitions.arrivals IS
    'Grows when packs arrive with their history: an owner whose memory is of before loads it again.';

-- Whoever moves a tenant reads and writes across row-level security, as ingest does.
GRANT INSERT ON channels, corrections, imports, key_aliases, models, pack_group_members, pack_groups, rules,
    rule_versions, sites, silences TO bpm_ingest;
GRANT USAGE ON SEQUENCE alerts_alert_no_seq, audit_log_id_seq, corrections_correction_no_seq,
    deliveries_delivery_no_seq, quarantine_id_seq, rules_rule_no_seq, silences_silence_no_seq,
    tenures_tenure_no_seq TO bpm_ingest;
