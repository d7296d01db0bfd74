-- How much an import will bring, when its sender says so; and imports in order of their time.

ALTER TABLE imports ADD COLUMN expected bigint CHECK (expected > 0);
COMMENT ON COLUMN imports.expected IS 'Readings that its sender said would come. NULL when it said nothing.';

CREATE INDEX imports_by_time ON imports (tenant_id, created_at, id);
