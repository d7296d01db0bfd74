-- name: lock
-- Whoever locks several rows takes them in one order, so that none waits for another in a circle.
SELECT FROM quarantine
JOIN unnest(%(tenant_id)s::int4[], %(source)s::text[], %(item_hash)s::bytea[], %(reason)s::text[])
    AS given (tenant_id, source, item_hash, reason) USING (tenant_id, source, item_hash, reason)
ORDER BY tenant_id, source, item_hash, reason FOR UPDATE OF quarantine

-- name: insert
-- One row for equal items of one source and reason.
INSERT INTO quarantine (
    tenant_id, source, item_hash, reason, field, limit_value, raw, times, first_at, last_at,
    form, pack, mode, import_id, subject, pack_limit, own_device, site_limit
)
SELECT * FROM unnest(
    %(tenant_id)s::int4[], %(source)s::text[], %(item_hash)s::bytea[], %(reason)s::text[], %(field)s::text[],
    %(limit_value)s::text[], %(raw)s::text[], %(times)s::int8[], %(at)s::timestamptz[], %(at)s::timestamptz[],
    %(form)s::text[], %(pack)s::text[], %(mode)s::text[], %(import_id)s::uuid[], %(subject)s::text[],
    %(pack_limit)s::text[], %(own_device)s::boolean[], %(site_limit)s::jsonb[]
)
ON CONFLICT (tenant_id, source, item_hash, reason) DO UPDATE SET
    times = quarantine.times + excluded.times,
    first_at = least(quarantine.first_at, excluded.first_at),
    last_at = greatest(quarantine.last_at, excluded.last_at)

-- name: list
SELECT
    id, uid, source, reason, field, limit_value, raw, times, first_at, last_at, form, pack, mode, import_id, subject,
    pack_limit, own_device, site_limit, redrives
FROM quarantine
WHERE tenant_id = %(tenant_id)s
    AND (%(ids)s::uuid[] IS NULL OR uid = ANY(%(ids)s))
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(pack)s::text IS NULL OR pack = %(pack)s)
    AND (%(from)s::timestamptz IS NULL OR last_at >= %(from)s)
    AND (%(to)s::timestamptz IS NULL OR last_at < %(to)s)
    AND (%(after)s::bigint IS NULL OR id > %(after)s)
ORDER BY id LIMIT %(limit)s

-- name: count
-- Items that a filter finds, up to a limit.
SELECT count(*) AS items FROM (
    SELECT FROM quarantine
    WHERE tenant_id = %(tenant_id)s
        AND (%(ids)s::uuid[] IS NULL OR uid = ANY(%(ids)s))
        AND (%(reason)s::text IS NULL OR reason = %(reason)s)
        AND (%(source)s::text IS NULL OR source = %(source)s)
        AND (%(pack)s::text IS NULL OR pack = %(pack)s)
        AND (%(from)s::timestamptz IS NULL OR last_at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR last_at < %(to)s)
    LIMIT %(limit)s
) AS found

-- name: discard
-- Locked in the order in which the writer adds to them.
DELETE FROM quarantine WHERE tenant_id = %(tenant_id)s AND id IN (
    SELECT id FROM quarantine WHERE tenant_id = %(tenant_id)s AND uid = ANY(%(ids)s::uuid[])
    ORDER BY tenant_id, source, item_hash, reason FOR UPDATE
) RETURNING uid AS id, source, reason, field, pack, raw, times, first_at, last_at

-- name: count_redrive
-- The next try of an item that failed again is another batch.
UPDATE quarantine SET redrives = redrives + 1 WHERE tenant_id = %(tenant_id)s AND (id, redrives) IN (
    SELECT id, given.redrives
    FROM quarantine JOIN unnest(%(ids)s::uuid[], %(redrives)s::int4[]) AS given (wanted, redrives) ON uid = given.wanted
    WHERE tenant_id = %(tenant_id)s
    ORDER BY tenant_id, source, item_hash, reason FOR UPDATE OF quarantine
)

-- name: drop_aged
-- Rows that the writer holds are passed over: it never waits for this, nor this for it. No clock that is ahead of the one
-- that is trusted makes them older.
WITH bound AS (
    SELECT least(%(now)s::timestamptz, clock_trusted_until) - %(keep)s::interval AS before FROM installation
), oldest AS (
    SELECT found.tenant_id, found.id
    FROM bound CROSS JOIN tenants CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM quarantine
        WHERE quarantine.tenant_id = tenants.tenant_id AND last_at < bound.before
        ORDER BY last_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS found
    LIMIT %(limit)s
)
DELETE FROM quarantine USING oldest
WHERE quarantine.tenant_id = oldest.tenant_id AND quarantine.id = oldest.id

-- name: drop_over
-- The oldest of each tenant that has more than it may have.
WITH over AS (
    SELECT tenant_id, count(*) - %(items_max)s AS items FROM quarantine GROUP BY tenant_id HAVING count(*) > %(items_max)s
), oldest AS (
    SELECT found.tenant_id, found.id
    FROM over CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM quarantine WHERE quarantine.tenant_id = over.tenant_id
        ORDER BY last_at, id LIMIT least(over.items, %(limit)s) FOR UPDATE SKIP LOCKED
    ) AS found
    LIMIT %(limit)s
)
DELETE FROM quarantine USING oldest
WHERE quarantine.tenant_id = oldest.tenant_id AND quarantine.id = oldest.id
