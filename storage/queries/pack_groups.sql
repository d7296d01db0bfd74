-- name: insert
INSERT INTO pack_groups (tenant_id, name, description) VALUES (%(tenant_id)s, %(name)s, %(description)s)
RETURNING id, name, description, created_at, version

-- name: list
-- Groups with the number of their packs that the actor sees, by the sites where they are now.
SELECT id, name, description, (
    SELECT count(*) FROM pack_group_members AS members
    WHERE members.tenant_id = pack_groups.tenant_id AND members.group_id = pack_groups.id
        AND (%(sites)s::text[] IS NULL OR (
            SELECT sites.name FROM tenures
            LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
            WHERE tenures.tenant_id = members.tenant_id AND tenures.pack_id = members.pack_id
            ORDER BY held_from DESC LIMIT 1
        ) = ANY(%(sites)s::text[]))
) AS packs, created_at, version
FROM pack_groups
WHERE tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR id = %(id)s::uuid)
    AND (%(name)s::text IS NULL OR name = %(name)s::text)
    AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: lock
SELECT version FROM pack_groups WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: lock_all
-- Held until commit: groups that are made at once are counted one after the other.
SELECT pg_advisory_xact_lock(hashtext('bpm.pack_groups'), %(tenant_id)s)

-- name: count
SELECT count(*) AS count FROM pack_groups WHERE tenant_id = %(tenant_id)s

-- name: update
UPDATE pack_groups SET name = %(name)s, description = %(description)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: delete
DELETE FROM pack_groups WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: add
INSERT INTO pack_group_members (tenant_id, group_id, pack_id)
SELECT %(tenant_id)s, %(id)s, pack_id FROM unnest(%(packs)s::int4[]) AS pack_id
ON CONFLICT DO NOTHING

-- name: remove
DELETE FROM pack_group_members
WHERE tenant_id = %(tenant_id)s AND group_id = %(id)s AND pack_id = ANY(%(packs)s::int4[])

-- name: size
SELECT count(*) AS packs FROM pack_group_members WHERE tenant_id = %(tenant_id)s AND group_id = %(id)s

-- name: members
-- The packs of a group that the actor sees, by external id.
SELECT packs.id, pack_id, external_id AS pack FROM pack_group_members AS members
JOIN packs USING (tenant_id, pack_id)
WHERE tenant_id = %(tenant_id)s AND group_id = %(id)s
    AND (%(after)s::text IS NULL OR external_id > %(after)s)
    AND (%(sites)s::text[] IS NULL OR (
        SELECT sites.name FROM tenures
        LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
        WHERE tenures.tenant_id = %(tenant_id)s AND tenures.pack_id = members.pack_id
        ORDER BY held_from DESC LIMIT 1
    ) = ANY(%(sites)s::text[]))
ORDER BY external_id LIMIT %(limit)s
