-- name: insert
INSERT INTO sites (tenant_id, name, region, zone) VALUES (%(tenant_id)s, %(name)s, %(region)s, %(zone)s)
RETURNING id, name, region, zone, created_at, version

-- name: get
SELECT id, name, region, zone, created_at, version FROM sites
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND (%(sites)s::text[] IS NULL OR name = ANY(%(sites)s::text[]))

-- name: lock
SELECT id, name, region, zone, created_at, version FROM sites
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND (%(sites)s::text[] IS NULL OR name = ANY(%(sites)s::text[]))
FOR UPDATE

-- name: list
SELECT id, name, region, zone, created_at, version FROM sites
WHERE tenant_id = %(tenant_id)s AND (%(sites)s::text[] IS NULL OR name = ANY(%(sites)s::text[]))
    AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s

-- name: update
UPDATE sites SET name = %(name)s, region = %(region)s, zone = %(zone)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
RETURNING id, name, region, zone, created_at, version

-- name: note_days
-- All days of packs that are or were at the site are folded again, by its clocks as they are now; see packs.note_days.
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
SELECT DISTINCT tenant_id, pack_id, '-infinity'::timestamptz, -pg_current_xact_id()::text::int8 FROM tenures
WHERE tenant_id = %(tenant_id)s AND site_id = %(id)s

-- name: by_name
SELECT given, id FROM unnest(%(given)s::text[]) AS given
JOIN sites ON tenant_id = %(tenant_id)s AND (name = given OR id::text = given) AND (%(sites)s::text[] IS NULL OR name = ANY(%(sites)s::text[]))
