-- name: tenants
-- Tenants with rules, held still until commit: a change of rules waits for the group that ran the ones before.
SELECT tenant_id, registry_version, rules_version FROM tenants WHERE rules_version > 0 ORDER BY tenant_id FOR SHARE

-- name: rules
SELECT
    rules.tenant_id, rules.rule_no, scope, site_id, model_id, pack_id, number,
    floor(extract(epoch FROM effective_from) * 1000)::int8 AS effective_from_ms,
    enabled, severity, condition, flap_raises_max, flap_window_s
FROM rules JOIN rule_versions USING (tenant_id, rule_no) JOIN tenants USING (tenant_id)
-- A tenant that a copy is taken of, that is elsewhere or suspended, has no rules here that could raise anything.
WHERE tenant_id = ANY(%(tenants)s) AND placement IN ('here', 'leaving') AND state = 'active'
    -- Those of security events are no matter of readings.
    AND security_kind IS NULL
ORDER BY rule_no, number

-- name: silences
SELECT
    tenant_id, id, kind, pack_id, site_id, rule_no,
    floor(extract(epoch FROM starts) * 1000)::int8 AS from_ms,
    floor(extract(epoch FROM ends) * 1000)::int8 AS to_ms
FROM silences WHERE tenant_id = ANY(%(tenants)s) AND deleted_at IS NULL
ORDER BY silence_no

-- name: scopes
SELECT
    tenure_no, tenant_id, pack_id, site_id, model_id,
    CASE WHEN isfinite(held_to) THEN floor(extract(epoch FROM held_to) * 1000)::int8 ELSE %(forever_ms)s END AS to_ms
FROM tenures WHERE tenure_no = ANY(%(tenures)s::int4[])

-- name: load_clocks
SELECT
    array_agg(pack_id), array_agg(rule_tenant_id), array_agg(rule_tenure_no), array_agg(rule_clock_ms),
    array_agg(rule_last_ts_ms), array_agg(rule_last)
FROM pack_state WHERE rule_clock_ms IS NOT NULL AND pack_id %% %(partitions)s = %(partition_no)s

-- name: load_states
SELECT
    rules.tenant_id, rule_no, rule_states.pack_id, source, rule_version, status, flapping,
    floor(extract(epoch FROM onset) * 1000)::int8 AS onset_ms,
    floor(extract(epoch FROM clear_since) * 1000)::int8 AS clear_since_ms,
    ARRAY(SELECT floor(extract(epoch FROM one) * 1000)::int8 FROM unnest(raises) AS one) AS raises_ms
FROM rule_states JOIN rules USING (rule_no)
-- What is about no pack belongs to the partition of its tenant.
WHERE CASE WHEN rule_states.pack_id < 0 THEN rules.tenant_id ELSE rule_states.pack_id END %% %(partitions)s = %(partition_no)s

-- name: live_after
-- The live readings that pack_state doesn't hold yet, in their order of arrival; also those that were deleted or
-- corrected since, because the rule clock goes by what was live.
SELECT
    array_agg(tenant_id), array_agg(tenure_no), array_agg(pack_id), array_agg(ts), array_agg(arrived_at),
    {measure_arrays}
FROM (
    SELECT arrived.*, batches.arrived_at, tenures.tenure_no
    FROM (
        SELECT tenant_id, pack_id, ts, batch_no, item_no, {measures} FROM readings
        WHERE batch_no > %(batch_no)s AND pack_id %% %(partitions)s = %(partition_no)s
        UNION ALL
        SELECT tenant_id, pack_id, ts, batch_no, item_no, {measures} FROM superseded_readings
        WHERE batch_no > %(batch_no)s AND pack_id %% %(partitions)s = %(partition_no)s
    ) AS arrived
    JOIN batches USING (tenant_id, batch_no)
    JOIN tenures ON tenures.tenant_id = arrived.tenant_id AND tenures.pack_id = arrived.pack_id
        AND held_from <= ts AND ts < held_to
    WHERE batches.batch_no > %(batch_no)s AND mode = 'live'
    ORDER BY batch_no, item_no
) AS live

-- name: take_sequence
UPDATE partitions SET alert_seq = alert_seq + %(count)s WHERE partition_no = %(partition_no)s
RETURNING alert_seq - %(count)s AS before

-- name: insert_transitions
INSERT INTO rule_transitions (
    tenant_id, partition_no, seq, rule_no, rule_version, pack_id, source, kind, reason, rule_time, onset, value,
    flapping, tenure_no, batch_no
)
SELECT tenant, %(partition_no)s, given.seq, rule, rule_version, pack, given.source, given.kind, given.reason,
    given.rule_time, given.onset, given.value, given.flapping, tenure, batch
FROM unnest(
    %(tenant_id)s::int4[], %(seq)s::int8[], %(rule_no)s::int4[], %(rule_version)s::int4[], %(pack_id)s::int4[],
    %(source)s::text[], %(kind)s::text[], %(reason)s::text[], %(rule_time)s::timestamptz[],
    %(onset)s::timestamptz[], %(value)s::float8[], %(flapping)s::boolean[], %(tenure_no)s::int4[],
    %(batch_no)s::int8[]
) AS given (
    tenant, seq, rule, rule_version, pack, source, kind, reason, rule_time, onset, value, flapping, tenure, batch
)

-- name: open_alerts
-- A late breach never covers an alert that is there; an alert that was provisional, or is raised again at the same
-- rule time, is the one that it was.
INSERT INTO alerts (
    tenant_id, rule_no, rule_version, pack_id, source, tenure_no, onset, raised_at, cleared_at, state, clear_reason,
    severity, value, flapping, late, provisional, silence_id, maintenance, security_kind, partition_no, seq
)
SELECT given.tenant, rule, rule_version, pack, given.source, tenure, given.onset, given.raised_at, given.cleared_at,
    given.state, given.clear_reason, given.severity, given.value, given.flapping, given.late, given.provisional,
    silence, given.maintenance, given.security_kind, %(partition_no)s, given.seq
FROM unnest(
    %(tenant_id)s::int4[], %(rule_no)s::int4[], %(rule_version)s::int4[], %(pack_id)s::int4[], %(source)s::text[],
    %(tenure_no)s::int4[], %(onset)s::timestamptz[], %(raised_at)s::timestamptz[], %(cleared_at)s::timestamptz[],
    %(state)s::text[], %(clear_reason)s::text[], %(severity)s::text[], %(value)s::float8[],
    %(flapping)s::boolean[], %(late)s::boolean[], %(provisional)s::boolean[], %(silence_id)s::uuid[],
    %(maintenance)s::boolean[], %(security_kind)s::text[], %(seq)s::int8[]
) AS given (
    tenant, rule, rule_version, pack, source, tenure, onset, raised_at, cleared_at, state, clear_reason, severity,
    value, flapping, late, provisional, silence, maintenance, security_kind, seq
)
ON CONFLICT ON CONSTRAINT alerts_identity DO UPDATE SET
    tenure_no = excluded.tenure_no, raised_at = excluded.raised_at, cleared_at = excluded.cleared_at,
    state = excluded.state, clear_reason = excluded.clear_reason, value = excluded.value,
    flapping = excluded.flapping, late = excluded.late, provisional = excluded.provisional,
    silence_id = excluded.silence_id, maintenance = excluded.maintenance, seq = excluded.seq,
    version = alerts.version + 1
WHERE NOT excluded.late

-- name: close_alerts
UPDATE alerts SET
    state = given.state, cleared_at = given.cleared_at, clear_reason = given.clear_reason, seq = given.seq,
    version = version + 1
FROM unnest(
    %(tenant_id)s::int4[], %(rule_no)s::int4[], %(rule_version)s::int4[], %(pack_id)s::int4[], %(source)s::text[],
    %(onset)s::timestamptz[], %(state)s::text[], %(cleared_at)s::timestamptz[], %(clear_reason)s::text[],
    %(seq)s::int8[]
) AS given (tenant, rule, rule_version, pack, source, onset, state, cleared_at, clear_reason, seq)
WHERE alerts.tenant_id = given.tenant AND alerts.rule_no = given.rule AND alerts.rule_version = given.rule_version
    AND alerts.onset = given.onset AND alerts.subject_pack = coalesce(given.pack, -1)
    AND alerts.subject_source = coalesce(given.source, '')

-- name: keep_states
INSERT INTO rule_states (rule_no, pack_id, source, rule_version, status, flapping, onset, clear_since, raises)
SELECT
    rule, pack, given.source, given.rule_version, given.status, given.flapping, given.onset, given.clear_since,
    string_to_array(given.raises, ',')::timestamptz[]
FROM unnest(
    %(rule_no)s::int4[], %(pack_id)s::int4[], %(source)s::text[], %(rule_version)s::int4[], %(status)s::text[],
    %(flapping)s::boolean[], %(onset)s::timestamptz[], %(clear_since)s::timestamptz[], %(raises)s::text[]
) AS given (rule, pack, source, rule_version, status, flapping, onset, clear_since, raises)
ON CONFLICT (rule_no, pack_id, source) DO UPDATE SET
    rule_version = excluded.rule_version, status = excluded.status, flapping = excluded.flapping,
    onset = excluded.onset, clear_since = excluded.clear_since, raises = excluded.raises

-- name: forget_states
DELETE FROM rule_states USING unnest(%(rule_no)s::int4[], %(pack_id)s::int4[], %(source)s::text[])
    AS gone (rule, pack, source)
WHERE rule_no = gone.rule AND pack_id = gone.pack AND rule_states.source = gone.source

-- name: notify
SELECT pg_notify(%(channel)s, %(payload)s)

-- name: quarantined_since
-- What was set aside by the newest live batches, for rules of its growth; also by those that brought none, since
-- their arrival moves the clock.
SELECT tenant_id, source, floor(extract(epoch FROM arrived_at) * 1000)::int8 AS arrived_ms, quarantined
FROM batches
WHERE tenant_id = ANY(%(tenants)s) AND mode = 'live' AND source <> 'redrive' AND arrived_at > %(since)s
    AND partition_no = %(partition_no)s
    -- A batch that was committed in parts counts by them.
    AND NOT EXISTS (
        SELECT FROM batches AS part WHERE part.tenant_id = batches.tenant_id AND part.part_of = batches.id
    )
ORDER BY batch_no

-- name: lock_alert
SELECT acknowledged_by, assigned_to FROM alerts WHERE tenant_id = %(tenant_id)s AND id = %(alert_id)s FOR UPDATE

-- name: find_action
SELECT alert_id, kind, subject, assignee, comment FROM alert_actions WHERE tenant_id = %(tenant_id)s AND id = %(id)s

-- name: insert_action
INSERT INTO alert_actions (tenant_id, id, partition_no, seq, alert_id, kind, subject, assignee, comment, at)
VALUES (%(tenant_id)s, %(id)s, %(partition_no)s, %(seq)s, %(alert_id)s, %(kind)s, %(subject)s, %(assignee)s,
    %(comment)s, %(at)s)

-- name: show_action
UPDATE alerts SET
    acknowledged_by = CASE WHEN %(kind)s = 'acknowledged' THEN %(subject)s ELSE acknowledged_by END,
    acknowledged_at = CASE WHEN %(kind)s = 'acknowledged' THEN %(at)s::timestamptz ELSE acknowledged_at END,
    assigned_to = CASE WHEN %(kind)s = 'assigned' THEN %(assignee)s ELSE assigned_to END,
    version = version + 1
WHERE tenant_id = %(tenant_id)s AND id = %(alert_id)s

-- name: ask_clearance
INSERT INTO alert_clearances (
    tenant_id, id, partition_no, alert_id, rule_no, pack_id, onset, subject, request_id, client_address
) VALUES (
    %(tenant_id)s, %(id)s, %(partition_no)s, %(alert_id)s, %(rule)s, %(pack)s, %(onset)s, %(subject)s, %(request_id)s,
    %(client_address)s
)

-- name: clearance
SELECT was_open FROM alert_clearances
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND answered_at IS NOT NULL

-- name: clearances
-- What is asked of the partition's owner, oldest first.
SELECT
    tenant_id, id, alert_id, rule_no, pack_id, floor(extract(epoch FROM onset) * 1000)::int8 AS onset_ms, subject,
    request_id, client_address
FROM alert_clearances WHERE partition_no = %(partition_no)s AND answered_at IS NULL ORDER BY asked_at LIMIT 100

-- name: site_of_alert
-- Where its pack was when the alert began; NULL for an alert about no pack.
SELECT (
    SELECT sites.name FROM alerts
    JOIN tenures ON tenures.tenant_id = alerts.tenant_id AND tenures.tenure_no = alerts.tenure_no
    JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = tenures.site_id
    WHERE alerts.tenant_id = %(tenant_id)s AND alerts.id = %(id)s
) AS site

-- name: answer_clearance
UPDATE alert_clearances SET answered_at = clock_timestamp(), was_open = %(was_open)s
WHERE tenant_id = %(tenant_id)s AND id = %(id)s
