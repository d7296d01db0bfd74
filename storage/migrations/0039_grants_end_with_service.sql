-- Access grants end when their tenant is suspended or deleted: nobody of it could revoke one meanwhile.
GRANT UPDATE (revoked_at, revoked_by) ON access_grants TO bpm_ingest;
