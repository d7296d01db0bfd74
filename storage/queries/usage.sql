-- name: count_ingest
-- In the order of the key, so that no two transactions wait for each other.
INSERT INTO ingest_days (tenant_id, day, partition_no, batches, readings, received_bytes)
SELECT tenant, day, %(partition_no)s, batches, readings, bytes
FROM unnest(
    %(tenant)s::int4[], %(day)s::date[], %(batches)s::int8[], %(readings)s::int8[], %(bytes)s::int8[]
) AS counted (tenant, day, batches, readings, bytes)
ORDER BY 1, 2
ON CONFLICT (tenant_id, day, partition_no) DO UPDATE SET
    batches = ingest_days.batches + excluded.batches,
    readings = ingest_days.readings + excluded.readings,
    received_bytes = ingest_days.received_bytes + excluded.received_bytes

-- name: count_requests
-- Of tenants that are there: one may have been erased since its requests were answered.
INSERT INTO request_days (tenant_id, day, requests)
SELECT tenant_id, day, requests
FROM unnest(%(tenant)s::int4[], %(day)s::date[], %(requests)s::int8[]) AS counted (tenant, day, requests)
JOIN tenants ON tenant_id = tenant
ORDER BY 1, 2
ON CONFLICT (tenant_id, day) DO UPDATE SET requests = request_days.requests + excluded.requests

-- name: today
SELECT
    coalesce(sum(readings), 0)::int8 AS readings,
    coalesce(sum(received_bytes), 0)::int8 AS received_bytes,
    (SELECT coalesce(sum(requests), 0) FROM request_days WHERE tenant_id = %(tenant_id)s AND day = %(day)s)::int8 AS requests
FROM ingest_days WHERE tenant_id = %(tenant_id)s AND day = %(day)s

-- name: list
-- Days, or months by their first day, in order; packs are those registered by the end of each.
SELECT
    period, sum(batches)::int8 AS batches, sum(readings)::int8 AS readings,
    sum(received_bytes)::int8 AS received_bytes, sum(requests)::int8 AS requests,
    (
        SELECT count(*) FROM packs
        WHERE packs.tenant_id = %(tenant_id)s
            AND created_at < (period + ('1 ' || %(by)s)::interval)::timestamp AT TIME ZONE 'UTC'
    ) AS packs
FROM (
    SELECT date_trunc(%(by)s, day)::date AS period, batches, readings, received_bytes, 0 AS requests
    FROM ingest_days WHERE tenant_id = %(tenant_id)s
        AND (%(from)s::date IS NULL OR day >= %(from)s) AND (%(to)s::date IS NULL OR day < %(to)s)
    UNION ALL
    SELECT date_trunc(%(by)s, day)::date, 0, 0, 0, requests
    FROM request_days WHERE tenant_id = %(tenant_id)s
        AND (%(from)s::date IS NULL OR day >= %(from)s) AND (%(to)s::date IS NULL OR day < %(to)s)
) AS used
WHERE %(after)s::date IS NULL OR period > %(after)s::date
GROUP BY period ORDER BY period LIMIT %(limit)s

-- name: packs_max
-- Held until commit, so that two who register packs at once don't pass the quota together; counted afterwards.
SELECT packs_max FROM tenants WHERE tenant_id = %(tenant_id)s AND packs_max IS NOT NULL FOR NO KEY UPDATE

-- name: packs
SELECT count(*) AS packs FROM packs WHERE tenant_id = %(tenant_id)s

-- name: set_quotas
UPDATE tenants SET
    packs_max = %(packs_max)s, day_readings_max = %(day_readings_max)s, day_requests_max = %(day_requests_max)s,
    day_received_bytes_max = %(day_received_bytes_max)s
WHERE tenant_id = %(tenant)s

-- name: quotas
SELECT packs_max, day_readings_max, day_requests_max, day_received_bytes_max FROM tenants WHERE tenant_id = %(tenant)s
