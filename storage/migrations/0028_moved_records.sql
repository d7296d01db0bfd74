-- Roles, accounts and keys go along with a tenant that moves to another cell: the role that copies writes them there.

GRANT INSERT ON roles, service_accounts, api_keys TO bpm_ingest;
