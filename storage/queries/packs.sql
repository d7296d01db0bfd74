-- name: insert_many
-- Packs with their first tenure and an audit row each; external ids that are taken are passed over, before
-- they draw a pack number. In order, so that two who register the same packs wait for each other, and no more.
WITH given AS (
    SELECT DISTINCT ON (pack) pack, site_id, model_id
    FROM unnest(%(packs)s::text[], %(site_ids)s::uuid[], %(model_ids)s::uuid[]) AS given (pack, site_id, model_id)
    WHERE NOT EXISTS (SELECT FROM packs WHERE tenant_id = %(tenant_id)s AND external_id = pack)
    ORDER BY pack
), made AS (
    INSERT INTO packs (tenant_id, external_id) SELECT %(tenant_id)s, pack FROM given
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING pack_id, id, external_id
), held AS (
    INSERT INTO tenures (tenant_id, pack_id, held_from, site_id, model_id)
    SELECT %(tenant_id)s, pack_id, '-infinity', site_id, model_id FROM made JOIN given ON pack = external_id
), noted AS (
    INSERT INTO audit_log (
        tenant_id, subject, action, resource, resource_id, after, request_id, client_address, site
    )
    SELECT
        %(tenant_id)s, %(subject)s, 'packs.created', 'packs', id::text,
        jsonb_build_object('pack', external_id, 'site_id', site_id, 'model_id', model_id), %(request_id)s,
        %(client_address)s,
        (SELECT name FROM sites WHERE sites.tenant_id = %(tenant_id)s AND sites.id = site_id)
    FROM made JOIN given ON pack = external_id
)
SELECT id, external_id AS pack FROM made

-- name: taken
SELECT external_id AS pack FROM packs WHERE tenant_id = %(tenant_id)s AND external_id = ANY(%(packs)s)

-- name: insert_tenure
INSERT INTO tenures (tenant_id, pack_id, held_from, held_to, site_id, model_id)
VALUES (%(tenant_id)s, %(pack_id)s, %(held_from)s, %(held_to)s, %(site_id)s, %(model_id)s)
RETURNING tenure_no

-- name: note_move
-- Every quarter-hour that a reading of the new tenure reaches is counted again (rule E15). Those that aren't closed
-- yet too, because they may be before this commits, and none whose readings may be gone: it stays as it was counted. The
-- tenure's number, negative, stands for a batch.
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
SELECT DISTINCT readings.tenant_id, pack_id, date_bin('15 minutes', moment, '2000-01-01 00:00:00+00'), -%(tenure_no)s::int8
FROM readings, installation, tenant_lines AS own,
LATERAL (VALUES (ts - gap_s_max * interval '1 second'), (ts), (ts + gap_s_max * interval '1 second')) AS near (moment)
WHERE readings.tenant_id = %(tenant_id)s AND own.tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s
    AND ts >= %(held_from)s::timestamptz - 2 * gap_s_max * interval '1 second'
    AND moment >= archived_before - interval '1 hour'

-- name: archived_since
-- Where archived days end, when a pack has windows behind a moment in them: these can't be counted for another tenure.
SELECT archived_before FROM tenant_lines
WHERE tenant_id = %(tenant_id)s AND %(starts)s::timestamptz < archived_before AND EXISTS (
    SELECT FROM quarters
    WHERE pack_id = %(pack_id)s AND starts > %(starts)s::timestamptz - interval '15 minutes' AND starts < archived_before
)

-- name: end_tenure
UPDATE tenures SET held_to = %(held_to)s
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND held_from = %(held_from)s

-- name: describe_tenure
UPDATE tenures SET site_id = %(site_id)s, model_id = %(model_id)s
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND held_from = %(held_from)s

-- name: note_days
-- All days of the pack are folded again, and those of its groups: a note at -infinity stands for them. The transaction's
-- number, negative, stands for a batch, so that no two changes share a note.
INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)
VALUES (%(tenant_id)s, %(pack_id)s, '-infinity', -pg_current_xact_id()::text::int8)

-- name: rename
UPDATE packs SET external_id = %(pack)s, version = version + 1
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s

-- name: touch
UPDATE packs SET version = version + 1 WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s

-- name: lock
SELECT pack_id FROM packs WHERE tenant_id = %(tenant_id)s AND id = %(id)s FOR UPDATE

-- name: get
-- A pack as it is now: with the site and model of its last tenure.
SELECT
    packs.pack_id, packs.id, external_id AS pack, models.name AS model, sites.name AS site, sites.region, sites.zone,
    last.site_id, last.model_id, packs.created_at, packs.version
FROM packs
JOIN LATERAL (
    SELECT site_id, model_id FROM tenures
    WHERE tenures.tenant_id = packs.tenant_id AND tenures.pack_id = packs.pack_id
    ORDER BY held_from DESC LIMIT 1
) AS last ON true
LEFT JOIN sites ON sites.tenant_id = packs.tenant_id AND sites.id = last.site_id
LEFT JOIN models ON models.tenant_id = packs.tenant_id AND models.id = last.model_id
WHERE packs.tenant_id = %(tenant_id)s
    AND (packs.id = %(id)s::uuid OR external_id = %(pack)s::text)
    AND (%(sites)s::text[] IS NULL OR sites.name = ANY(%(sites)s::text[]))

-- name: page
-- Packs by external id, in the order {direction}. No more than `scanned` are looked at, in the order of the index of
-- external ids, and where each is now is looked up for these alone. place: how many were looked at up to it.
SELECT
    looked.pack_id, looked.id, external_id AS pack, models.name AS model, sites.name AS site, sites.region, sites.zone,
    last.site_id, last.model_id, looked.created_at, looked.version, looked.place
FROM (
    SELECT *, row_number() OVER (ORDER BY external_id {direction}) AS place
    FROM packs WHERE packs.tenant_id = %(tenant_id)s{after}
    ORDER BY external_id {direction} LIMIT %(scanned)s
) AS looked
JOIN LATERAL (
    SELECT site_id, model_id FROM tenures
    WHERE tenures.tenant_id = looked.tenant_id AND tenures.pack_id = looked.pack_id
    ORDER BY held_from DESC LIMIT 1
) AS last ON true
LEFT JOIN sites ON sites.tenant_id = looked.tenant_id AND sites.id = last.site_id
LEFT JOIN models ON models.tenant_id = looked.tenant_id AND models.id = last.model_id
WHERE (%(search)s::text IS NULL OR strpos(lower(external_id), lower(%(search)s::text)) > 0)
    AND (%(site)s::text IS NULL OR sites.name = %(site)s::text OR sites.id::text = %(site)s::text)
    AND (%(region)s::text IS NULL OR sites.region = %(region)s::text)
    AND (%(model)s::text IS NULL OR models.name = %(model)s::text OR models.id::text = %(model)s::text)
    AND (%(sites)s::text[] IS NULL OR sites.name = ANY(%(sites)s::text[]))
ORDER BY external_id {direction} LIMIT %(limit)s

-- name: page_end
-- How many packs were looked at for a page that wasn't filled, and the last of them.
SELECT count(*) AS looked_at, {furthest}(external_id) AS pack FROM (
    SELECT external_id FROM packs WHERE packs.tenant_id = %(tenant_id)s{after}
    ORDER BY external_id {direction} LIMIT %(scanned)s
) AS looked

-- name: tenures
SELECT
    held_from::text AS held_from, held_to::text AS held_to, sites.name AS site, models.name AS model, tenures.site_id, tenures.model_id
FROM tenures
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
LEFT JOIN models ON models.tenant_id = tenures.tenant_id AND models.id = tenures.model_id
WHERE tenures.tenant_id = %(tenant_id)s AND tenures.pack_id = %(pack_id)s
ORDER BY tenures.held_from

-- name: latest_held
-- The latest value of one measure among the tenant's own readings of a pack.
SELECT ts, {measure} AS value FROM readings
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND {measure} IS NOT NULL
ORDER BY ts DESC LIMIT 1

-- name: numbers
-- Those of some packs that the actor sees, by the sites where they are now.
SELECT pack, packs.pack_id FROM unnest(%(packs)s::text[]) WITH ORDINALITY AS given (pack, place)
JOIN packs ON packs.tenant_id = %(tenant_id)s AND external_id = pack
WHERE %(sites)s::text[] IS NULL OR (
    SELECT sites.name FROM tenures
    LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
    WHERE tenures.tenant_id = packs.tenant_id AND tenures.pack_id = packs.pack_id
    ORDER BY held_from DESC LIMIT 1
) = ANY(%(sites)s::text[])
ORDER BY place

-- name: of_group
-- The packs that the actor sees, at a site or of a model when one is given.
SELECT packs.pack_id, external_id AS pack FROM packs
JOIN LATERAL (
    SELECT site_id, model_id FROM tenures
    WHERE tenures.tenant_id = packs.tenant_id AND tenures.pack_id = packs.pack_id
    ORDER BY held_from DESC LIMIT 1
) AS last ON true
LEFT JOIN sites ON sites.tenant_id = packs.tenant_id AND sites.id = last.site_id
WHERE packs.tenant_id = %(tenant_id)s
    AND (%(sites)s::text[] IS NULL OR sites.name = ANY(%(sites)s::text[]))
    AND (%(site_id)s::uuid IS NULL OR last.site_id = %(site_id)s::uuid)
    AND (%(model_id)s::uuid IS NULL OR last.model_id = %(model_id)s::uuid)
ORDER BY external_id LIMIT %(limit)s

-- name: tenures_of_packs
-- The tenant's tenures of some packs, with the place of each pack among those given.
SELECT array_agg((place - 1)::int4), array_agg(held_from), array_agg(held_to)
FROM unnest(%(packs)s::int4[]) WITH ORDINALITY AS given (pack, place)
JOIN tenures ON tenures.tenant_id = %(tenant_id)s AND tenures.pack_id = given.pack

-- name: latest_held_of
-- The latest value of one measure among the tenant's own readings, of some packs that have any.
SELECT array_agg((place - 1)::int4), array_agg(ts), array_agg(value)
FROM unnest(%(packs)s::int4[]) WITH ORDINALITY AS given (pack, place)
CROSS JOIN LATERAL (
    SELECT ts, {measure} AS value FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = given.pack AND {measure} IS NOT NULL
    ORDER BY ts DESC LIMIT 1
) AS newest
