-- Tenants are served, suspended, or to be deleted after a grace. The state follows from what was asked, and when.

ALTER TABLE tenants
    ADD COLUMN suspended_at timestamptz,
    ADD COLUMN suspended_for text,
    ADD COLUMN deletion_asked_at timestamptz,
    ADD COLUMN erased_from timestamptz,
    ADD COLUMN erasing_since timestamptz,
    ADD CHECK ((suspended_at IS NULL) = (suspended_for IS NULL)),
    ADD CHECK ((deletion_asked_at IS NULL) = (erased_from IS NULL)),
    ADD CHECK (erasing_since IS NULL OR deletion_asked_at IS NOT NULL);
ALTER TABLE tenants ADD COLUMN state text NOT NULL GENERATED ALWAYS AS (
    CASE
        WHEN erasing_since IS NOT NULL THEN 'erasing'
        WHEN deletion_asked_at IS NOT NULL THEN 'deleting'
        WHEN suspended_at IS NOT NULL THEN 'suspended'
        ELSE 'active'
    END
) STORED;
COMMENT ON COLUMN tenants.suspended_for IS 'Why, in the words of who suspended it.';
COMMENT ON COLUMN tenants.erased_from IS 'The grace ends: from then on the tenant may be erased.';
