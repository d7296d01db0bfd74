-- name: list
-- The newest first.
SELECT event_no, at, kind, subject, address_prefix, route, times
FROM security_events
WHERE tenant_id = %(tenant_id)s
    AND (%(before_no)s::bigint IS NULL OR event_no < %(before_no)s)
    AND (%(starts)s::timestamptz IS NULL OR at >= %(starts)s)
    AND (%(ends)s::timestamptz IS NULL OR at < %(ends)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s)
    AND (%(address_prefix)s::text IS NULL OR address_prefix = %(address_prefix)s)
    AND (%(route)s::text IS NULL OR route = %(route)s)
ORDER BY event_no DESC LIMIT %(limit)s

-- name: insert
-- Of tenants that are gone by now nothing is kept.
INSERT INTO security_events (tenant_id, at, kind, subject, address_prefix, route, times)
SELECT tenant, %(at)s, given.kind, given.subject, prefix, given.route, given.times
FROM unnest(
    %(tenant_id)s::int4[], %(kind)s::text[], %(subject)s::text[], %(address_prefix)s::text[], %(route)s::text[],
    %(times)s::int4[]
) AS given (tenant, kind, subject, prefix, route, times)
WHERE EXISTS (SELECT FROM tenants WHERE tenant_id = tenant)

-- name: insert_of_platform
INSERT INTO platform_security_events (at, kind, address_prefix, route, times)
SELECT %(at)s, * FROM unnest(%(kind)s::text[], %(address_prefix)s::text[], %(route)s::text[], %(times)s::int4[])

-- name: drop_old
WITH gone AS (DELETE FROM security_events WHERE at < %(before)s)
DELETE FROM platform_security_events WHERE at < %(before)s

-- name: drop_idle_buckets
DELETE FROM rate_buckets WHERE at < clock_timestamp() - make_interval(days => 1)

-- name: lease
-- Takes what is wanted from a bucket, or what it holds, after it was filled up for the time that has passed.
INSERT INTO rate_buckets AS bucket (tenant_id, kind, subject, tokens, granted, at)
SELECT
    %(tenant_id)s, %(kind)s, %(subject)s, %(burst)s::float8 - least(%(wanted)s::float8, %(burst)s::float8),
    least(%(wanted)s::float8, %(burst)s::float8), clock_timestamp()
ON CONFLICT (tenant_id, kind, subject) DO UPDATE SET
    granted = least(
        %(wanted)s,
        least(%(burst)s, bucket.tokens + %(per_s)s * greatest(0, extract(epoch FROM clock_timestamp() - bucket.at)))
    ),
    tokens = greatest(
        0,
        least(%(burst)s, bucket.tokens + %(per_s)s * greatest(0, extract(epoch FROM clock_timestamp() - bucket.at)))
            - %(wanted)s
    ),
    at = greatest(bucket.at, clock_timestamp())
RETURNING granted
