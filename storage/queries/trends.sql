-- name: points
-- A pack's readings as columns in order of time; measures that came one by one are put together by the caller,
-- because grouping here costs as much as all the rest.
SELECT array_agg(ts), {asked_arrays} FROM (
    SELECT ts, {asked} FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts < %(to)s AND ({any_asked})
    ORDER BY ts LIMIT %(limit)s
) AS points

-- name: extent
-- The first and the last time of a pack's readings in a range.
SELECT
    (extract(epoch FROM min(ts)) * 1000)::int8 AS first_ms,
    (extract(epoch FROM max(ts)) * 1000)::int8 AS last_ms
FROM readings
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts < %(to)s

-- name: first_of_values
-- When a pack first had each value of a measure in the span beside it.
SELECT array_agg(found.ts)
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(thousandths)s::int4[])
    AS wanted (starts, ends, thousandths)
CROSS JOIN LATERAL (
    SELECT ts FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= wanted.starts AND ts < wanted.ends
        AND ts >= %(from)s AND ts < %(to)s AND round({measure}::float8 * 1000)::int4 = wanted.thousandths
    ORDER BY ts LIMIT 1
) AS found

-- name: points_at
-- A pack's readings of some moments in order of time.
SELECT array_agg(ts), {asked_arrays} FROM (
    SELECT stored.*
    FROM unnest(%(moments)s::timestamptz[]) AS wanted (moment)
    CROSS JOIN LATERAL (
        SELECT ts, {asked} FROM readings
        WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= wanted.moment
            AND ts < wanted.moment + interval '1 millisecond'
            AND ts >= %(from)s AND ts < %(to)s AND ({any_asked})
        OFFSET 0
    ) AS stored
    ORDER BY ts
) AS points
