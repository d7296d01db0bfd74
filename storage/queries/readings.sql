-- name: find
-- Stored readings of the given packs and times. LATERAL with OFFSET 0 keeps one index probe a key, where a
-- join falls into a bad plan at 100,000 keys; the constant bounds leave out partitions when planning.
SELECT array_agg(pack_id), array_agg(ts), {measure_arrays}
FROM unnest(%(pack)s::int4[], %(ts)s::timestamptz[]) AS wanted (pack, moment)
CROSS JOIN LATERAL (
    SELECT pack_id, ts, {measures} FROM readings
    WHERE pack_id = wanted.pack AND ts = wanted.moment AND ts >= %(from)s AND ts <= %(to)s
    OFFSET 0
) AS stored

-- name: find_former
-- Values that were stored under the given packs and times and are superseded, oldest first.
SELECT array_agg(pack_id), array_agg(ts), array_agg(deleted::int4), {measure_arrays}
FROM (
    SELECT former.* FROM unnest(%(pack)s::int4[], %(ts)s::timestamptz[]) AS wanted (pack, moment)
    CROSS JOIN LATERAL (
        SELECT pack_id, ts, deleted, correction_no, {measures} FROM superseded_readings
        WHERE pack_id = wanted.pack AND ts = wanted.moment
        OFFSET 0
    ) AS former
    ORDER BY correction_no
) AS formers

-- name: copy
COPY {readings} (tenant_id, pack_id, ts, batch_no, item_no, {measures}) FROM STDIN (FORMAT BINARY)

-- name: partition_names
-- Those of all classes.
SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
JOIN pg_class AS parent ON parent.oid = inhparent
WHERE parent.relnamespace = 'bpm'::regnamespace AND parent.relname ~ '^readings_class_[0-9]+$'

-- name: make_partition
SELECT make_readings_partition(%(class_no)s::smallint, %(name)s, %(starts)s, %(ends)s)

-- name: first_day
SELECT first_day, gap_s_max FROM installation
