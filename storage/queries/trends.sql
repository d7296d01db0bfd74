-- name: points
-- A pack's readings as columns in order of time; measures that came one by one are put together by the caller,
-- because grouping here costs as much as all the rest.
SELECT array_agg(ts), {asked_arrays} FROM (
    SELECT ts, {asked} FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= %(from)s AND ts < %(to)s AND ({any_asked})
    ORDER BY ts LIMIT %(limit)s
) AS points
