-- name: lock_all
-- Held until commit: accounts that are made at once are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('bpm.service_accounts'), %(tenant_id)s)

-- name: drop_gone
-- Those whose grace has passed; their keys go with them.
DELETE FROM service_accounts WHERE tenant_id = %(tenant_id)s AND deleted_at <= %(gone_before)s

-- name: count
SELECT count(*) AS count FROM service_accounts WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s

-- name: insert
INSERT INTO service_accounts (tenant_id, kind, name, description, roles, site_ids, regions, pack_id, created_by)
VALUES (
    %(tenant_id)s, %(kind)s, %(name)s, %(description)s, %(roles)s, %(site_ids)s::uuid[], %(regions)s::text[],
    %(pack_id)s::int4, %(created_by)s
)
RETURNING id

-- name: list
SELECT
    account.id, account.name, account.description, account.roles, CASE WHEN site_ids IS NOT NULL THEN ARRAY(
        SELECT sites.name FROM sites
        WHERE sites.tenant_id = account.tenant_id AND sites.id = ANY(account.site_ids) ORDER BY sites.name
    ) END AS sites, account.regions, packs.external_id AS pack,
    CASE WHEN deleted_at IS NULL THEN account.state ELSE 'deleted' END AS state, account.deleted_at,
    account.created_by, account.created_at, account.version
FROM service_accounts AS account
LEFT JOIN packs ON packs.tenant_id = account.tenant_id AND packs.pack_id = account.pack_id
WHERE account.tenant_id = %(tenant_id)s AND account.kind = %(kind)s
    AND (account.deleted_at IS NULL OR account.deleted_at > %(gone_before)s)
    AND (%(id)s::uuid IS NULL OR account.id = %(id)s::uuid)
    AND (%(name)s::text IS NULL OR account.name = %(name)s::text)
    AND (%(after)s::text IS NULL OR account.name > %(after)s)
ORDER BY account.name LIMIT %(limit)s

-- name: lock
SELECT version, site_ids, state, deleted_at FROM service_accounts
WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s AND id = %(id)s
    AND (deleted_at IS NULL OR deleted_at > %(gone_before)s)
FOR UPDATE

-- name: update
UPDATE service_accounts SET
    name = %(name)s, description = %(description)s, roles = %(roles)s, site_ids = %(site_ids)s::uuid[],
    regions = %(regions)s::text[], state = %(state)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: set_deleted
UPDATE service_accounts SET deleted_at = %(deleted_at)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: count_keys
SELECT count(*) AS count FROM api_keys
WHERE tenant_id = %(tenant_id)s AND account_id = %(account)s AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > %(now)s)

-- name: insert_key
INSERT INTO api_keys (tenant_id, key_id, account_id, key_hash, name, roles, site_ids, expires_at, created_by)
VALUES (
    %(tenant_id)s, %(key_id)s, %(account)s, %(digest)s, %(name)s, %(roles)s::text[], %(site_ids)s::uuid[],
    %(expires_at)s, %(created_by)s
)

-- name: list_keys
SELECT
    key_id AS id, key.name, key.roles, CASE WHEN site_ids IS NOT NULL THEN ARRAY(
        SELECT sites.name FROM sites
        WHERE sites.tenant_id = key.tenant_id AND sites.id = ANY(key.site_ids) ORDER BY sites.name
    ) END AS sites, expires_at, revoked_at, last_used_at, created_by, created_at
FROM api_keys AS key
WHERE tenant_id = %(tenant_id)s AND account_id = %(account)s
    AND (%(key)s::text IS NULL OR key_id = %(key)s::text)
    AND (%(after)s::text IS NULL OR key_id > %(after)s)
ORDER BY key_id LIMIT %(limit)s

-- name: revoke_key
UPDATE api_keys SET revoked_at = %(now)s
WHERE tenant_id = %(tenant_id)s AND account_id = %(account)s AND key_id = %(key)s AND revoked_at IS NULL
RETURNING key_id

-- name: of_key
-- What a key may be used for, across tenants: its own limits within those of its account, with regions as sites.
SELECT
    key.key_hash, key.expires_at, key.tenant_id, account.id, account.kind, tenants.name AS tenant, packs.external_id AS pack,
    CASE WHEN key.roles IS NULL THEN account.roles
        ELSE ARRAY(SELECT unnest(account.roles) INTERSECT SELECT unnest(key.roles)) END AS roles,
    CASE WHEN account.site_ids IS NOT NULL OR account.regions IS NOT NULL OR key.site_ids IS NOT NULL THEN ARRAY(
        SELECT sites.name FROM sites
        WHERE sites.tenant_id = key.tenant_id
            AND (
                account.site_ids IS NULL AND account.regions IS NULL
                OR sites.id = ANY(account.site_ids) OR sites.region = ANY(account.regions)
            )
            AND (key.site_ids IS NULL OR sites.id = ANY(key.site_ids))
    ) END AS sites,
    key.last_used_at
FROM api_keys AS key
JOIN service_accounts AS account ON account.tenant_id = key.tenant_id AND account.id = key.account_id
JOIN tenants ON tenants.tenant_id = key.tenant_id
LEFT JOIN packs ON packs.tenant_id = account.tenant_id AND packs.pack_id = account.pack_id
WHERE key.key_id = %(key_id)s AND key.revoked_at IS NULL AND account.state = 'active' AND account.deleted_at IS NULL

-- name: key_used
UPDATE api_keys SET last_used_at = %(now)s
WHERE tenant_id = %(tenant_id)s AND key_id = %(key_id)s AND (last_used_at IS NULL OR last_used_at <= %(before)s)
