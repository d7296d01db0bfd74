-- name: points
-- A pack's readings as columns, one point a time; measures that came one by one are put together.
SELECT array_agg(ts), {asked_arrays} FROM (
    SELECT ts, {asked_maxima} FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts < %(to)s AND ({any_asked})
    GROUP BY ts ORDER BY ts LIMIT %(limit)s
) AS points
