-- name: lock
SELECT tenant_id, name, created_at, state, placement, erased_from <= clock_timestamp() AS grace_is_over, erased_from
FROM tenants WHERE name = %(name)s FOR UPDATE

-- name: unfinished
-- An erasure that has begun: of a tenant that is still there, or of which only the last look is missing.
SELECT id, tenant_no FROM erasures WHERE tenant_name = %(name)s AND erased_at IS NULL

-- name: begin
UPDATE tenants SET erasing_since = coalesce(erasing_since, clock_timestamp()) WHERE tenant_id = %(tenant)s

-- name: note
INSERT INTO erasures (tenant_no, tenant_name, tenant_made_at, asked_by)
VALUES (%(tenant)s, %(name)s, %(made_at)s, %(by)s)
ON CONFLICT (tenant_no) WHERE erased_at IS NULL DO NOTHING

-- name: count
UPDATE erasures SET erased_rows = erased_rows || jsonb_build_object(
    %(table)s::text, coalesce((erased_rows ->> %(table)s::text)::int8, 0) + %(rows)s::int8
)
WHERE tenant_no = %(tenant)s AND erased_at IS NULL

-- name: finish
UPDATE erasures SET erased_at = clock_timestamp() WHERE tenant_no = %(tenant)s AND erased_at IS NULL
RETURNING id

-- name: packs
SELECT pack_id FROM packs WHERE tenant_id = %(tenant)s ORDER BY pack_id

-- name: shared_packs
-- Packs of the tenant that others have or had too.
SELECT pack_id FROM packs WHERE tenant_id = %(tenant)s AND EXISTS (
    SELECT FROM packs AS others WHERE others.pack_id = packs.pack_id AND others.tenant_id <> %(tenant)s
)
ORDER BY pack_id

-- name: last_batch
-- The last batch number that is committed, under the locked partitions.
SELECT coalesce(max(last_batch_no), 0) AS batch_no, clock_timestamp() AS at FROM partitions

-- name: span_after
-- From when to when the readings go of later batches; NULL without any.
SELECT min(first_ts) AS starts, max(last_ts) AS ends FROM batches WHERE batch_no > %(batch_no)s

-- name: packs_after
-- Those of some packs that have readings of later batches; the constant bounds leave out partitions when planning.
SELECT DISTINCT pack_id FROM readings
WHERE batch_no > %(batch_no)s AND pack_id = ANY(%(packs)s) AND ts >= %(starts)s AND ts <= %(ends)s

-- name: packs_corrected
-- Those of some packs of which a reading may have been put right since a moment: such a reading is of no batch.
SELECT DISTINCT pack_id FROM corrections
WHERE pack_id = ANY(%(packs)s) AND (status <> 'done' OR finished_at >= %(since)s)

-- name: superseded_of
SELECT pack_id, count(*) AS rows FROM superseded_readings WHERE pack_id = ANY(%(packs)s) GROUP BY pack_id

-- name: keys
-- Of each table the columns of its primary key, in their order.
SELECT
    conrelid::regclass::text AS "table",
    ARRAY(
        SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS part (attnum, place)
        JOIN pg_attribute USING (attnum) WHERE attrelid = conrelid ORDER BY place
    ) AS key
FROM pg_constraint WHERE contype = 'p' AND connamespace = 'bpm'::regnamespace

-- name: lock_partitions
SELECT partition_no FROM partitions ORDER BY partition_no FOR NO KEY UPDATE

-- name: tell_owners
UPDATE partitions SET arrivals = arrivals + 1

-- name: forget_latest
-- What is remembered of packs that others have or had too: only the newest values of theirs, and no clock of rules.
UPDATE pack_state SET
    latest_ts_ms = (%(latest_ts_ms)s::int8[])[(n - 1) * %(measures)s::int8 + 1 : n * %(measures)s::int8],
    latest = (%(latest)s::int4[])[(n - 1) * %(measures)s::int8 + 1 : n * %(measures)s::int8],
    rule_tenant_id = NULL, rule_tenure_no = NULL, rule_clock_ms = NULL, rule_last_ts_ms = NULL, rule_last = NULL,
    live_tenant_id = NULL, live_arrived_ms = NULL, live_newest_ts_ms = NULL, live_skew_ms = NULL
FROM unnest(%(pack)s::int4[]) WITH ORDINALITY AS given (pack, n)
WHERE pack_id = given.pack

-- name: tenant_columns
-- Every column that holds a tenant's number, whatever table it is in.
SELECT class.relname::text AS "table", attribute.attname::text AS "column"
FROM pg_class AS class JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid
WHERE class.relnamespace = 'bpm'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    AND attribute.attnum > 0 AND NOT attribute.attisdropped AND attribute.attname ~ '(^|_)tenant_id$'
ORDER BY 1, 2

-- name: references
SELECT of_class.relname::text AS child, to_class.relname::text AS parent
FROM pg_constraint
JOIN pg_class AS of_class ON of_class.oid = conrelid JOIN pg_class AS to_class ON to_class.oid = confrelid
WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'bpm'::regnamespace AND conrelid <> confrelid

-- name: list
-- What was erased here, the oldest first; id: of this installation.
SELECT
    erasures.id, (SELECT id FROM installation) AS installation, tenant_no, tenant_name, tenant_made_at, asked_by,
    began_at, erased_at, erased_rows
FROM erasures WHERE erased_at IS NOT NULL ORDER BY erased_at

-- name: still_there
-- A tenant that was erased, and that an older backup has: by number, name and when it was made.
SELECT name FROM tenants, installation
WHERE tenant_id = %(tenant_no)s AND name = %(tenant_name)s AND created_at = %(tenant_made_at)s
    AND installation.id = %(installation)s
