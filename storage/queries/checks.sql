-- name: broken_rules
-- Tenant tables without forced row-level security; relations that give the app more than it may have.
SELECT 'row-level security is not forced' AS rule, class.relname::text AS name
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = 'tenant_id'
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    AND NOT (class.relrowsecurity AND class.relforcerowsecurity)
UNION ALL
SELECT 'TRUNCATE is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p')
    AND (has_table_privilege('bpm_app', class.oid, 'TRUNCATE') OR has_table_privilege('bpm_ingest', class.oid, 'TRUNCATE'))
UNION ALL
SELECT 'a partition or materialized view is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND (class.relispartition OR class.relkind = 'm')
    AND class.relkind IN ('r', 'p', 'm') AND has_table_privilege('bpm_app', class.oid, 'SELECT')
UNION ALL
SELECT 'the app role is privileged', rolname::text FROM pg_roles
WHERE rolname IN ('bpm_app', 'bpm_owner') AND (rolsuper OR rolbypassrls OR rolcanlogin)
UNION ALL
SELECT 'audit rows can be changed', privilege FROM unnest(ARRAY['UPDATE', 'DELETE']) AS privilege
WHERE has_table_privilege('bpm_app', 'bpm.audit_log', privilege)
    OR has_table_privilege('bpm_ingest', 'bpm.audit_log', privilege)

-- name: privileged_login
SELECT rolname FROM pg_roles WHERE rolname = session_user AND (rolsuper OR rolbypassrls OR rolcreaterole)
