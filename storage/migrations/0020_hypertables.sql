-- Whether readings and quarters are hypertables of TimescaleDB (storage/hypertables.py), which is decided here, once.

ALTER TABLE installation ADD COLUMN hypertables boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN installation.hypertables IS
    'readings and quarters are hypertables, which the app reads through views in the schema bpm_tenant. Fixed when the database is made.';
