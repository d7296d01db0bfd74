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

-- name: list_of_platform
-- The newest first.
SELECT at, kind, address_prefix, route, times
FROM platform_security_events
WHERE (%(starts)s::timestamptz IS NULL OR at >= %(starts)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
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
WITH gone AS (DELETE FROM security_events WHERE at < %(before)s), counted AS (
    DELETE FROM security_counts WHERE minute < %(counts_before)s
)
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

-- name: count
-- Refusals of a minute, of all processes together. Tenants in their order, so that two processes don't wait in a ring.
INSERT INTO security_counts AS known (tenant_id, kind, minute, times)
SELECT tenant, given.kind, %(minute)s, given.times
FROM unnest(%(tenant_id)s::int4[], %(kind)s::text[], %(times)s::int8[]) AS given (tenant, kind, times)
WHERE EXISTS (SELECT FROM tenants WHERE tenant_id = tenant)
ORDER BY tenant, given.kind
ON CONFLICT (tenant_id, kind, minute) DO UPDATE SET times = known.times + excluded.times
RETURNING tenant_id, kind, times

-- name: own_thresholds
SELECT tenant_id, denied_per_minute_max, not_found_per_minute_max, rate_limited_per_minute_max, quiet_s, version
FROM security_thresholds WHERE tenant_id = ANY(%(tenants)s::int4[])

-- name: open_alerts
-- With the last minute that had too many.
SELECT
    alerts.tenant_id, security_kind AS kind, alerts.id, rule_no, rule_version, severity,
    floor(extract(epoch FROM onset) * 1000)::int8 AS onset_ms,
    own.denied_per_minute_max, own.not_found_per_minute_max, own.rate_limited_per_minute_max, own.quiet_s,
    (
        SELECT floor(extract(epoch FROM minute) * 1000)::int8 FROM security_counts AS counts
        WHERE counts.tenant_id = alerts.tenant_id AND counts.kind = security_kind
            AND times >= coalesce((to_jsonb(own) ->> (security_kind || '_per_minute_max'))::int4, per_minute_max)
        ORDER BY minute DESC LIMIT 1
    ) AS last_minute_ms
FROM alerts
JOIN unnest(%(kinds)s::text[], %(per_minute_max)s::int4[]) AS usual (kind, per_minute_max) ON kind = security_kind
LEFT JOIN security_thresholds AS own USING (tenant_id)
WHERE state = 'open' AND security_kind IS NOT NULL AND (%(tenant)s::int4 IS NULL OR alerts.tenant_id = %(tenant)s)

-- name: too_many
-- What no alert has told of yet: the newest minute since a moment.
SELECT DISTINCT ON (counts.tenant_id, kind)
    counts.tenant_id, kind, times,
    own.denied_per_minute_max, own.not_found_per_minute_max, own.rate_limited_per_minute_max, own.quiet_s
FROM security_counts AS counts
JOIN unnest(%(kinds)s::text[], %(per_minute_max)s::int4[]) AS usual (kind, per_minute_max) USING (kind)
LEFT JOIN security_thresholds AS own USING (tenant_id)
WHERE minute >= %(since)s AND (%(tenant)s::int4 IS NULL OR counts.tenant_id = %(tenant)s)
    AND times >= coalesce((to_jsonb(own) ->> (kind || '_per_minute_max'))::int4, per_minute_max)
    AND NOT EXISTS (
        SELECT FROM alerts
        WHERE alerts.tenant_id = counts.tenant_id AND security_kind = kind AND (state = 'open' OR raised_at >= minute)
    )
ORDER BY counts.tenant_id, kind, minute DESC

-- name: hold_tenant
-- One that isn't served here raises nothing; it doesn't go before commit.
SELECT tenant_id FROM tenants
WHERE tenant_id = %(tenant)s AND placement IN ('here', 'leaving') AND state = 'active' FOR SHARE

-- name: make_rule
INSERT INTO rules (tenant_id, name, scope, security_kind) VALUES (%(tenant)s, %(name)s, 'tenant', %(kind)s)
ON CONFLICT (tenant_id, security_kind) DO NOTHING

-- name: rule
SELECT rules.rule_no, number, condition
FROM rules LEFT JOIN rule_versions USING (tenant_id, rule_no)
WHERE tenant_id = %(tenant)s AND security_kind = %(kind)s
ORDER BY number DESC NULLS LAST LIMIT 1

-- name: make_version
INSERT INTO rule_versions (
    tenant_id, rule_no, number, effective_from, enabled, severity, condition, flap_raises_max, flap_window_s,
    created_by
) VALUES (
    %(tenant)s, %(rule_no)s, %(number)s, %(at)s, true, %(severity)s, %(condition)s, %(flap_raises_max)s,
    %(flap_window_s)s, 'installation'
)

-- name: thresholds
SELECT denied_per_minute_max, not_found_per_minute_max, rate_limited_per_minute_max, quiet_s, version
FROM security_thresholds WHERE tenant_id = %(tenant_id)s

-- name: make_thresholds
INSERT INTO security_thresholds (tenant_id) VALUES (%(tenant_id)s) ON CONFLICT DO NOTHING

-- name: hold_thresholds
SELECT denied_per_minute_max, not_found_per_minute_max, rate_limited_per_minute_max, quiet_s, version
FROM security_thresholds WHERE tenant_id = %(tenant_id)s FOR UPDATE

-- name: change_thresholds
UPDATE security_thresholds SET
    denied_per_minute_max = %(denied_per_minute_max)s, not_found_per_minute_max = %(not_found_per_minute_max)s,
    rate_limited_per_minute_max = %(rate_limited_per_minute_max)s, quiet_s = %(quiet_s)s, version = version + 1
WHERE tenant_id = %(tenant_id)s
