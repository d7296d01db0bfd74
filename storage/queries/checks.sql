-- name: broken_rules
-- Tenant tables without forced row-level security; relations that give the app more than it may have.
SELECT 'row-level security is not forced' AS rule, class.relname::text AS name
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attname = 'tenant_id'
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    AND NOT (class.relrowsecurity AND class.relforcerowsecurity)
    -- Hypertables have views instead.
    AND NOT (class.relname ~ '^(readings_class_[0-9]+|quarters)$' AND (SELECT hypertables FROM bpm.installation))
UNION ALL
SELECT 'a hypertable or a chunk is granted', class.relname::text FROM pg_class AS class
WHERE class.relkind = 'r' AND (SELECT hypertables FROM bpm.installation)
    AND (
        class.relnamespace = 'bpm'::regnamespace AND class.relname ~ '^(readings_class_[0-9]+|quarters)$'
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
    AND (
        policy.polname <> 'tenant' OR policy.polcmd <> '*' OR NOT policy.polpermissive
        OR policy.polroles <> ARRAY['bpm_app'::regrole::oid]
        OR policy.polwithcheck IS NOT NULL
        OR pg_get_expr(policy.polqual, policy.polrelid) <>
            '(tenant_id = ( SELECT (NULLIF(current_setting(''bpm.tenant_id''::text, true), ''''::text))::integer AS "nullif"))'
    )
UNION ALL
-- Without a tenant no policy holds: what the app may see of such tables is listed here.
SELECT 'a table without a tenant is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    AND class.relname NOT IN ('installation', 'partitions', 'window_marks', 'lost_ranges', 'retention_classes')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = class.oid AND attname = 'tenant_id')
    AND has_any_column_privilege('bpm_app', class.oid, 'SELECT, INSERT, UPDATE')
UNION ALL
-- An owner may switch row-level security off.
SELECT 'a relation belongs to a role that serves', class.relname::text FROM pg_class AS class
WHERE class.relnamespace IN ('bpm'::regnamespace, to_regnamespace('bpm_tenant'))
    AND class.relowner IN ('bpm_app'::regrole, 'bpm_ingest'::regrole)
UNION ALL
-- A function behind a trigger runs as whoever writes, ingest for one, which row-level security doesn't bind.
SELECT 'TRIGGER or REFERENCES is granted', class.relname::text FROM pg_class AS class
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p', 'v')
    AND (
        has_table_privilege('bpm_app', class.oid, 'TRIGGER') OR has_any_column_privilege('bpm_app', class.oid, 'REFERENCES')
    )
UNION ALL
SELECT 'what is made later is granted', coalesce(named.nspname, 'every schema')
FROM pg_default_acl LEFT JOIN pg_namespace AS named ON named.oid = defaclnamespace
CROSS JOIN LATERAL aclexplode(defaclacl) AS made
WHERE defaclobjtype IN ('r', 'n') AND (defaclnamespace = 0 OR named.nspname IN ('bpm', 'bpm_tenant'))
    AND made.grantee IN (0, 'bpm_app'::regrole)
UNION ALL
-- Names are looked up in it by functions that run with their owner's rights.
SELECT 'a role that serves may create in a schema', role || ' in ' || named.nspname
FROM unnest(ARRAY['bpm_app', 'bpm_ingest']) AS role, pg_namespace AS named
WHERE named.nspname IN ('bpm', 'bpm_tenant') AND has_schema_privilege(role, named.oid, 'CREATE')
UNION ALL
-- pg_temp stands last: elsewhere, or unnamed, a caller's own tables come before ours.
SELECT 'a function runs with its owner''s rights on the caller''s names', routine.proname::text
FROM pg_proc AS routine
WHERE routine.pronamespace IN ('bpm'::regnamespace, to_regnamespace('bpm_tenant')) AND routine.prosecdef
    AND NOT coalesce('search_path=bpm, pg_temp' = ANY(routine.proconfig), false)
UNION ALL
SELECT 'the app may run a function with its owner''s rights', routine.proname::text FROM pg_proc AS routine
WHERE routine.pronamespace IN ('bpm'::regnamespace, to_regnamespace('bpm_tenant')) AND routine.prosecdef
    AND has_function_privilege('bpm_app', routine.oid, 'EXECUTE')
UNION ALL
-- The check of a key passes row-level security: it would link to another tenant's row, and tell that it exists.
SELECT 'a foreign key without the tenant', class.relname || '.' || key.conname
FROM pg_constraint AS key JOIN pg_class AS class ON class.oid = key.conrelid
JOIN pg_attribute AS own ON own.attrelid = key.conrelid AND own.attname = 'tenant_id'
JOIN pg_attribute AS other ON other.attrelid = key.confrelid AND other.attname = 'tenant_id'
WHERE key.contype = 'f' AND key.conparentid = 0 AND key.connamespace = 'bpm'::regnamespace
    AND NOT EXISTS (
        SELECT FROM unnest(key.conkey, key.confkey) AS pair (of_own, of_other)
        WHERE of_own = own.attnum AND of_other = other.attnum
    )
    AND EXISTS (
        SELECT FROM unnest(key.conkey) AS of_own
        WHERE has_column_privilege('bpm_app', key.conrelid, of_own, 'INSERT')
            OR has_column_privilege('bpm_app', key.conrelid, of_own, 'UPDATE')
    )
UNION ALL
-- So does that of uniqueness. Numbers that the database gives, and what nobody guesses, tell nothing.
SELECT 'a unique key without the tenant', named.relname::text
FROM pg_index AS key JOIN pg_class AS class ON class.oid = key.indrelid JOIN pg_class AS named ON named.oid = key.indexrelid
JOIN pg_attribute AS tenant ON tenant.attrelid = class.oid AND tenant.attname = 'tenant_id'
WHERE key.indisunique AND class.relnamespace = 'bpm'::regnamespace AND NOT class.relispartition
    AND NOT tenant.attnum = ANY(key.indkey)
    -- A pack has one holder, of whichever tenant, by a number that leaves the engine never; a digest is of a secret.
    AND named.relname NOT IN ('tenures_one_open', 'tickets_digest')
    AND EXISTS (
        SELECT FROM pg_attribute AS part
        WHERE part.attrelid = class.oid AND part.attnum = ANY(key.indkey) AND part.attidentity <> 'a'
            AND (
                has_column_privilege('bpm_app', class.oid, part.attnum, 'INSERT')
                OR has_column_privilege('bpm_app', class.oid, part.attnum, 'UPDATE')
            )
    )
UNION ALL
-- A session that was given no tenant must see none.
SELECT 'a tenant is set for every session', coalesce(database.datname, role.rolname, 'all')
FROM pg_db_role_setting AS given
LEFT JOIN pg_database AS database ON database.oid = given.setdatabase
LEFT JOIN pg_roles AS role ON role.oid = given.setrole
WHERE given.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND EXISTS (SELECT FROM unnest(given.setconfig) AS one WHERE one LIKE 'bpm.tenant\_id=%')
UNION ALL
SELECT 'the app role is privileged', rolname::text FROM pg_roles
WHERE rolname IN ('bpm_app', 'bpm_owner') AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)
UNION ALL
SELECT 'the ingest role is privileged', rolname::text FROM pg_roles
WHERE rolname = 'bpm_ingest' AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)
UNION ALL
SELECT 'the ingest role may act as another', granted.rolname::text FROM pg_roles AS granted
WHERE granted.rolname <> 'bpm_ingest' AND pg_has_role('bpm_ingest', granted.oid, 'MEMBER')
UNION ALL
-- SET ROLE would take the app past row-level security.
SELECT 'the app role may act as another', granted.rolname::text FROM pg_roles AS granted
WHERE granted.rolname <> 'bpm_app' AND pg_has_role('bpm_app', granted.oid, 'MEMBER')
UNION ALL
-- It deletes from every table, of every tenant. (A database from before it has none.)
SELECT 'the eraser role is privileged', rolname::text FROM pg_roles
WHERE rolname = 'bpm_eraser' AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication)
UNION ALL
SELECT 'a role that serves may erase tenants', role.rolname::text
FROM pg_roles AS role JOIN pg_roles AS eraser ON eraser.rolname = 'bpm_eraser'
WHERE role.rolname IN ('bpm_app', 'bpm_ingest', 'bpm_retention') AND pg_has_role(role.oid, eraser.oid, 'MEMBER')
UNION ALL
SELECT 'audit rows can be changed', rolname || ' may ' || privilege
FROM pg_roles, unnest(ARRAY['UPDATE', 'DELETE']) AS privilege
WHERE rolname IN ('bpm_app', 'bpm_ingest', 'bpm_retention', 'bpm_eraser') AND (
    has_table_privilege(oid, 'bpm.audit_log', privilege)
    AND (rolname::text, privilege) NOT IN (('bpm_retention', 'DELETE'), ('bpm_eraser', 'DELETE'))
    OR (privilege = 'UPDATE' AND has_any_column_privilege(oid, 'bpm.audit_log', privilege))
)
UNION ALL
SELECT 'audit rows can be changed', 'the trigger ' || name || ' is missing or off'
FROM unnest(ARRAY['audit_log_append_only', 'audit_log_keeps_the_last_90_days']) AS name
WHERE NOT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgrelid = 'bpm.audit_log'::regclass AND tgname = name AND tgenabled IN ('O', 'A')
)
UNION ALL
SELECT 'the platform''s log can be changed', rolname || ' may ' || privilege
FROM pg_roles, unnest(ARRAY['UPDATE', 'DELETE']) AS privilege
WHERE rolname IN ('bpm_app', 'bpm_ingest', 'bpm_retention', 'bpm_eraser') AND (
    has_table_privilege(oid, 'bpm.platform_log', privilege)
    OR (privilege = 'UPDATE' AND has_any_column_privilege(oid, 'bpm.platform_log', privilege))
)
UNION ALL
SELECT 'the platform''s log can be changed', 'the trigger platform_log_append_only is missing or off'
WHERE NOT EXISTS (
    SELECT FROM pg_trigger
    WHERE tgrelid = 'bpm.platform_log'::regclass AND tgname = 'platform_log_append_only' AND tgenabled IN ('O', 'A')
)

-- name: privileged_login
SELECT rolname FROM pg_roles WHERE rolname = session_user AND (
    rolsuper OR rolbypassrls OR rolcreaterole
    OR EXISTS (SELECT FROM pg_roles AS eraser WHERE eraser.rolname = 'bpm_eraser' AND pg_has_role(session_user, eraser.oid, 'MEMBER'))
)
