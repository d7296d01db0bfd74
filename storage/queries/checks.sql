-- name: broken_rules
-- Tenant tables without forced row-level security; relations that give the app more than it may have.
SELECT 'row-level security is not forced' AS rule, class.relname::text AS name
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = 'tenant_id'
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    AND NOT (class.relrowsecurity AND class.relforcerowsecurity)
    -- Hypertables have views instead.
    AND NOT (class.relname IN ('readings', 'quarters') AND (SELECT hypertables FROM bpm.installation))
UNION ALL
SELECT 'a hypertable or a chunk is granted', class.relname::text FROM pg_class AS class
WHERE class.relkind = 'r' AND (SELECT hypertables FROM bpm.installation)
    AND (
        class.relnamespace = 'bpm'::regnamespace AND class.relname IN ('readings', 'quarters')
        OR class.relnamespace = to_regnamespace('_timescaledb_internal')
            AND class.relname ~ '^(_hyper_|compress_hyper_|_compressed_hypertable_)'
    )
    AND (has_any_column_privilege('bpm_app', class.oid, 'SELECT') OR has_any_column_privilege('bpm_app', class.oid, 'INSERT'))
UNION ALL
SELECT 'a view of a hypertable doesn''t hold to the tenant', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = to_regnamespace('bpm_tenant')
    AND NOT (
        class.relkind = 'v' AND coalesce(class.reloptions && ARRAY['security_barrier=true', 'security_barrier=on'], false)
        AND pg_get_viewdef(class.oid) ~ 'WHERE \((\w+\.)?tenant_id = \( SELECT \(NULLIF\(current_setting\(''bpm\.tenant_id''::text, true\), ''''::text\)\)::integer AS "nullif"\)\);$'
    )
UNION ALL
SELECT 'TRUNCATE is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p')
    AND (has_table_privilege('bpm_app', class.oid, 'TRUNCATE') OR has_table_privilege('bpm_ingest', class.oid, 'TRUNCATE'))
UNION ALL
SELECT 'a partition or materialized view is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND (class.relispartition OR class.relkind = 'm')
    AND class.relkind IN ('r', 'p', 'm')
    AND (has_any_column_privilege('bpm_app', class.oid, 'SELECT') OR has_any_column_privilege('bpm_app', class.oid, 'INSERT'))
UNION ALL
-- A view reads with its owner's rights, which row-level security may not bind.
SELECT 'a view without security_invoker is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind = 'v'
    AND NOT coalesce(class.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
    AND has_any_column_privilege('bpm_app', class.oid, 'SELECT')
UNION ALL
-- Policies add up: a second one would show what the first hides.
SELECT 'a policy other than that of the tenant', class.relname || '.' || policy.polname
FROM pg_policy AS policy JOIN pg_class AS class ON class.oid = policy.polrelid
WHERE class.relnamespace = 'bpm'::regnamespace
    AND (policy.polname <> 'tenant' OR pg_get_expr(policy.polqual, policy.polrelid) NOT LIKE '(tenant\_id = ( SELECT (NULLIF(current\_setting(''bpm.tenant\_id''%')
UNION ALL
SELECT 'the app role is privileged', rolname::text FROM pg_roles
WHERE rolname IN ('bpm_app', 'bpm_owner') AND (rolsuper OR rolbypassrls OR rolcanlogin)
UNION ALL
-- SET ROLE would take the app past row-level security.
SELECT 'the app role may act as another', granted.rolname::text FROM pg_roles AS granted
WHERE granted.rolname <> 'bpm_app' AND pg_has_role('bpm_app', granted.oid, 'MEMBER')
UNION ALL
SELECT 'audit rows can be changed', role || ' may ' || privilege
FROM unnest(ARRAY['bpm_app', 'bpm_ingest', 'bpm_retention']) AS role, unnest(ARRAY['UPDATE', 'DELETE']) AS privilege
WHERE has_table_privilege(role, 'bpm.audit_log', privilege) AND (role, privilege) <> ('bpm_retention', 'DELETE')
    OR (privilege = 'UPDATE' AND has_any_column_privilege(role, 'bpm.audit_log', privilege))
UNION ALL
SELECT 'audit rows can be changed', 'the trigger ' || name || ' is missing or off'
FROM unnest(ARRAY['audit_log_append_only', 'audit_log_keeps_the_last_90_days']) AS name
WHERE NOT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgrelid = 'bpm.audit_log'::regclass AND tgname = name AND tgenabled IN ('O', 'A')
)

-- name: privileged_login
SELECT rolname FROM pg_roles WHERE rolname = session_user AND (rolsuper OR rolbypassrls OR rolcreaterole)
