-- name: try_counter_lock
SELECT pg_try_advisory_lock(hashtext('bpm.counter'), 0)

-- name: marks
-- Held until commit: should there be two counters after all, the second starts again with what the first has left.
SELECT
    (SELECT extract(epoch FROM min(closed_before)) * 1000 FROM partitions)::int8 AS closed_before_ms,
    (extract(epoch FROM counted_before) * 1000)::int8 AS counted_before_ms,
    gap_s_max, (SELECT coalesce(max(pack_id), -1) FROM packs) AS last_pack
FROM window_marks, installation FOR UPDATE OF window_marks

-- name: readings_between
-- Every pack's readings of a span; the block ranges of ts find them.
SELECT
    string_agg(int4send(tenant_id), ''), string_agg(int4send(pack_id), ''), string_agg(timestamptz_send(ts), ''),
    {measure_bytes}
FROM readings
WHERE ts >= %(from)s AND ts < %(to)s AND pack_id >= %(first_pack)s AND pack_id < %(behind_pack)s

-- name: count_readings
-- How many readings packs have in a span, up to a limit.
SELECT count(*) AS readings FROM (
    SELECT FROM readings
    WHERE tenant_id = %(tenant_id)s AND pack_id = ANY(%(packs)s::int4[])
        AND ts >= %(starts)s::timestamptz AND ts < %(ends)s::timestamptz
    LIMIT %(limit)s
) AS counted

-- name: readings_of_spans
-- Readings of some packs, each in its own span. LATERAL with OFFSET 0 keeps one index probe a span; the constant
-- bounds leave out partitions when planning.
SELECT
    string_agg(int4send(tenant_id), ''), string_agg(int4send(pack_id), ''), string_agg(timestamptz_send(ts), ''),
    {measure_bytes}
FROM unnest(%(pack)s::int4[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS wanted (pack, starts, ends)
CROSS JOIN LATERAL (
    SELECT tenant_id, pack_id, ts, {measures} FROM readings
    WHERE pack_id = wanted.pack AND ts >= wanted.starts AND ts < wanted.ends AND ts >= %(from)s AND ts < %(to)s
    OFFSET 0
) AS stored

-- name: tenures_between
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(held_from), array_agg(held_to), array_agg(tenure_no)
FROM (
    SELECT tenant_id, pack_id, held_from, held_to, tenure_no FROM tenures
    WHERE pack_id >= %(first_pack)s AND pack_id < %(behind_pack)s AND held_from < %(to)s AND held_to > %(from)s
    ORDER BY pack_id, held_from
) AS holding

-- name: tenures_of
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(held_from), array_agg(held_to), array_agg(tenure_no)
FROM (
    SELECT tenant_id, pack_id, held_from, held_to, tenure_no FROM tenures
    WHERE pack_id = ANY(%(packs)s::int4[]) ORDER BY pack_id, held_from
) AS holding

-- name: notes
-- The next quarter-hours to be counted again, among those that were counted.
SELECT array_agg(pack_id), array_agg(starts) FROM (
    SELECT DISTINCT pack_id, starts FROM window_notes WHERE starts > '-infinity' AND starts < %(counted_before)s
    ORDER BY pack_id, starts LIMIT %(limit)s
) AS noted

-- name: settled_for_good
-- Of noted quarter-hours, those of tenants whose readings of then may be gone, while another tenant's of the same pack are
-- there: that one is of another class, and left the note. Nothing of theirs can have changed.
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(starts) FROM (
    SELECT DISTINCT tenant_id, pack_id, noted.starts
    FROM unnest(%(pack)s::int4[], %(starts)s::timestamptz[]) AS noted (pack, starts)
    JOIN tenures ON pack_id = noted.pack AND held_from < noted.starts + interval '15 minutes' AND held_to > noted.starts
    JOIN tenant_lines USING (tenant_id)
    WHERE (SELECT count(*) > 1 FROM retention_classes) AND noted.starts < archived_before - interval '1 hour'
        AND NOT EXISTS (
            SELECT FROM window_notes
            WHERE window_notes.tenant_id = tenures.tenant_id AND window_notes.pack_id = noted.pack
                AND window_notes.starts = noted.starts
        )
) AS settled

-- name: delete_quarters
DELETE FROM quarters USING unnest(%(pack)s::int4[], %(starts)s::timestamptz[]) AS noted (pack, moment)
WHERE pack_id = noted.pack AND starts = noted.moment AND starts >= %(from)s AND starts <= %(to)s
    AND (tenant_id, pack_id, starts) NOT IN (
        SELECT * FROM unnest(%(kept_tenant)s::int4[], %(kept_pack)s::int4[], %(kept_starts)s::timestamptz[])
    )

-- name: copy_quarters
COPY quarters (tenant_id, pack_id, tenure_no, starts, record) FROM STDIN (FORMAT BINARY)

-- name: delete_notes_of_span
-- One snapshot: exactly the notes that it saw. Those of later commits stay.
DELETE FROM window_notes WHERE starts >= %(from)s AND starts < %(to)s

-- name: delete_notes
DELETE FROM window_notes USING unnest(%(pack)s::int4[], %(starts)s::timestamptz[]) AS noted (pack, moment)
WHERE pack_id = noted.pack AND starts = noted.moment

-- name: move_mark
-- Forward only, never above the closing mark, and only from where this snapshot found it.
UPDATE window_marks SET counted_before = %(counted_before)s
WHERE counted_before < %(counted_before)s
    AND (SELECT min(closed_before) FROM partitions) >= %(counted_before)s
RETURNING true AS moved

-- name: months
SELECT to_char(starts, 'YYYY-MM') AS month FROM (
    SELECT (regexp_match(pg_get_expr(relpartbound, oid), $$FROM \('([^']+)'\)$$))[1]::timestamptz AS starts
    FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'quarters'::regclass
) AS parts

-- name: make_month
SELECT make_quarters_partition(%(month)s)

-- name: drop_days
-- The days of quarter-hours that are counted again, also those of a tenure that ended earlier in the day; their groups
-- are behind from now on.
WITH dropped AS (
    DELETE FROM pack_days USING unnest(%(pack)s::int4[], %(starts)s::timestamptz[]) AS noted (pack, moment)
    WHERE pack_days.pack_id = noted.pack AND pack_days.starts <= noted.moment AND ends > noted.moment
        AND pack_days.starts > noted.moment - interval '3 days'
    RETURNING tenant_id, pack_days.pack_id, tenure_no, day
), noted_days AS (
    INSERT INTO days_to_fold (tenant_id, pack_id, tenure_no, day) SELECT DISTINCT * FROM dropped
    ON CONFLICT DO NOTHING
)
INSERT INTO groups_to_fold (tenant_id, day) SELECT DISTINCT tenant_id, day FROM dropped
ON CONFLICT DO NOTHING

-- name: zones_of
SELECT tenures.tenure_no, coalesce(zone, 'UTC') AS zone FROM tenures
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id
WHERE tenures.tenure_no = ANY(%(tenures)s::int4[])

-- name: note_days
INSERT INTO days_to_fold (tenant_id, pack_id, tenure_no, day)
SELECT * FROM unnest(%(tenant)s::int4[], %(pack)s::int4[], %(tenure)s::int4[], %(day)s::date[])
ON CONFLICT DO NOTHING

-- name: zones
-- Every zone that a pack's days are made in, and the first of its days that wasn't noted to be folded when it closed.
SELECT zone, folded_before FROM (
    SELECT DISTINCT coalesce(sites.zone, 'UTC') AS zone FROM tenures
    LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id
) AS used LEFT JOIN day_marks USING (zone) ORDER BY zone

-- name: move_day_mark
INSERT INTO day_marks (zone, folded_before) VALUES (%(zone)s, %(day)s)
ON CONFLICT (zone) DO UPDATE SET folded_before = excluded.folded_before

-- name: note_closed_day
INSERT INTO days_to_fold (tenant_id, pack_id, tenure_no, day)
SELECT tenures.tenant_id, pack_id, tenure_no, %(day)s FROM tenures
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id
WHERE coalesce(sites.zone, 'UTC') = %(zone)s AND held_from < %(to)s AND held_to > %(from)s
ON CONFLICT DO NOTHING

-- name: packs_to_fold
-- A note at -infinity is of all days of a pack: its site, its model or the site's zone was put right.
SELECT array_agg(tenant_id), array_agg(pack_id) FROM (
    SELECT DISTINCT tenant_id, pack_id FROM window_notes WHERE starts = '-infinity'
    ORDER BY pack_id, tenant_id LIMIT %(limit)s
) AS noted

-- name: drop_days_of_packs
WITH dropped AS (
    DELETE FROM pack_days USING unnest(%(tenant)s::int4[], %(pack)s::int4[]) AS noted (tenant, pack)
    WHERE pack_days.tenant_id = noted.tenant AND pack_days.pack_id = noted.pack
    RETURNING tenant_id, day
)
INSERT INTO groups_to_fold (tenant_id, day) SELECT DISTINCT tenant_id, day FROM dropped
ON CONFLICT DO NOTHING

-- name: note_days_of_packs
-- Every day in which a stored quarter-hour lies: in any zone that is the day of UTC, the one before or the one behind.
INSERT INTO days_to_fold (tenant_id, pack_id, tenure_no, day)
SELECT DISTINCT tenures.tenant_id, tenures.pack_id, tenures.tenure_no, (starts AT TIME ZONE 'UTC')::date + around
FROM unnest(%(tenant)s::int4[], %(pack)s::int4[]) AS noted (tenant, pack)
JOIN tenures ON tenures.tenant_id = noted.tenant AND tenures.pack_id = noted.pack
JOIN quarters ON quarters.pack_id = tenures.pack_id AND quarters.tenure_no = tenures.tenure_no,
generate_series(-1, 1) AS around
ON CONFLICT DO NOTHING

-- name: delete_notes_of_packs
-- One snapshot: exactly the notes that it saw. Those of later commits stay.
DELETE FROM window_notes USING unnest(%(tenant)s::int4[], %(pack)s::int4[]) AS noted (tenant, pack)
WHERE window_notes.tenant_id = noted.tenant AND window_notes.pack_id = noted.pack AND starts = '-infinity'

-- name: zones_to_fold
SELECT DISTINCT coalesce(sites.zone, 'UTC') AS zone
FROM days_to_fold
JOIN tenures USING (tenure_no)
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id

-- name: days_to_fold
-- The next days that are over and counted: those before the first open one of their zone.
SELECT days_to_fold.tenant_id, days_to_fold.pack_id, days_to_fold.tenure_no, day, used.zone
FROM days_to_fold
JOIN tenures USING (tenure_no)
LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id
JOIN unnest(%(zones)s::text[], %(first_open)s::date[]) AS used (zone, first_open)
    ON used.zone = coalesce(sites.zone, 'UTC') AND day < first_open
ORDER BY day, days_to_fold.pack_id, tenure_no LIMIT %(limit)s

-- name: quarters_of_spans
SELECT array_agg(wanted.place), array_agg(stored.starts), string_agg(record, '')
FROM unnest(%(place)s::int4[], %(pack)s::int4[], %(tenure)s::int4[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS wanted (place, pack, tenure, starts, ends)
CROSS JOIN LATERAL (
    SELECT quarters.starts, record FROM quarters
    WHERE pack_id = wanted.pack AND tenure_no = wanted.tenure
        AND quarters.starts >= wanted.starts AND quarters.starts < wanted.ends
        AND quarters.starts >= %(from)s AND quarters.starts < %(to)s
    ORDER BY quarters.starts
    OFFSET 0
) AS stored

-- name: replace_days
WITH given AS (
    SELECT * FROM unnest(
        %(tenant)s::int4[], %(pack)s::int4[], %(tenure)s::int4[], %(zone)s::text[], %(day)s::date[],
        %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(record)s::bytea[]
    ) AS given (tenant_id, pack_id, tenure_no, zone, day, starts, ends, record)
)
INSERT INTO pack_days (tenant_id, pack_id, tenure_no, zone, day, starts, ends, record) SELECT * FROM given

-- name: delete_days
DELETE FROM pack_days USING unnest(%(pack)s::int4[], %(tenure)s::int4[], %(day)s::date[]) AS given (pack, tenure, of_day)
WHERE pack_id = given.pack AND tenure_no = given.tenure AND day = given.of_day

-- name: delete_days_to_fold
DELETE FROM days_to_fold USING unnest(%(pack)s::int4[], %(tenure)s::int4[], %(day)s::date[]) AS given (pack, tenure, of_day)
WHERE pack_id = given.pack AND tenure_no = given.tenure AND day = given.of_day

-- name: note_groups
INSERT INTO groups_to_fold (tenant_id, day) SELECT * FROM unnest(%(tenant)s::int4[], %(day)s::date[])
ON CONFLICT DO NOTHING

-- name: groups_to_fold
-- A tenant's day whose packs' days are all folded.
SELECT tenant_id, day FROM groups_to_fold
WHERE NOT EXISTS (
    SELECT FROM days_to_fold WHERE days_to_fold.tenant_id = groups_to_fold.tenant_id AND days_to_fold.day = groups_to_fold.day
)
ORDER BY day, tenant_id LIMIT 1

-- name: days_of_packs
SELECT
    array_agg(pack_days.pack_id), string_agg(record, ''),
    array_agg(coalesce(site_id::text, '')), array_agg(coalesce(model_id::text, ''))
FROM pack_days JOIN tenures USING (tenure_no)
WHERE pack_days.tenant_id = %(tenant_id)s AND day = %(day)s

-- name: delete_groups
DELETE FROM group_days WHERE tenant_id = %(tenant_id)s AND day = %(day)s

-- name: insert_groups
INSERT INTO group_days (tenant_id, day, kind, group_id, packs, record)
SELECT %(tenant_id)s, %(day)s, kind, group_id, packs, record
FROM unnest(%(kind)s::text[], %(group_id)s::uuid[], %(packs)s::int4[], %(record)s::bytea[])
    AS given (kind, group_id, packs, record)

-- name: delete_group_to_fold
DELETE FROM groups_to_fold WHERE tenant_id = %(tenant_id)s AND day = %(day)s

-- name: counted_before
-- Where stored quarter-hours end for certain, and where raw readings begin; NULL before there is any mark.
SELECT
    (extract(epoch FROM min(counted_before)) * 1000)::int8 AS counted_before_ms,
    (SELECT gap_s_max FROM installation) AS gap_s_max,
    (SELECT nullif(archived_before, '-infinity') FROM tenant_lines WHERE tenant_id = %(tenant_id)s) AS archived_before
FROM window_marks

-- name: noted_of_pack
SELECT array_agg(DISTINCT starts) AS starts FROM window_notes
WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND starts >= %(from)s AND starts < %(to)s

-- name: tenures_of_pack
SELECT array_agg(held_from), array_agg(held_to), array_agg(tenure_no) FROM (
    SELECT held_from, held_to, tenure_no FROM tenures
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s ORDER BY held_from
) AS holding

-- name: quarters_of_pack
-- A pack's quarter-hours in some spans.
SELECT array_agg(tenure_no), array_agg(stored.starts), string_agg(record, '')
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS wanted (starts, ends)
CROSS JOIN LATERAL (
    SELECT tenure_no, quarters.starts, record FROM quarters
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s
        AND quarters.starts >= wanted.starts AND quarters.starts < wanted.ends
        AND quarters.starts >= %(from)s AND quarters.starts < %(to)s
    OFFSET 0
) AS stored

-- name: days_of_pack
SELECT array_agg(tenure_no), array_agg(starts), array_agg(ends), string_agg(record, '') FROM (
    SELECT tenure_no, starts, ends, record FROM pack_days
    WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND starts >= %(from)s AND ends <= %(to)s
    ORDER BY starts
) AS stored

-- name: readings_of_pack
-- A pack's readings in some spans, up to a limit.
SELECT string_agg(timestamptz_send(ts), ''), {measure_bytes} FROM (
    SELECT stored.* FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS wanted (starts, ends)
    CROSS JOIN LATERAL (
        SELECT ts, {measures} FROM readings
        WHERE tenant_id = %(tenant_id)s AND pack_id = %(pack_id)s AND ts >= wanted.starts AND ts < wanted.ends
            AND ts >= %(from)s AND ts < %(to)s
        OFFSET 0
    ) AS stored
    LIMIT %(limit)s
) AS points

-- name: group_days
SELECT day, packs, record FROM group_days
WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s AND group_id = %(group_id)s AND day >= %(from)s AND day < %(to)s

-- name: zones_of_group
-- Zones in which days of a group's packs may be made.
SELECT zone FROM sites WHERE tenant_id = %(tenant_id)s AND (%(kind)s <> 'site' OR id = %(group_id)s)
UNION
SELECT 'UTC' WHERE %(kind)s <> 'site'

-- name: tenures_of_group
SELECT
    array_agg(tenant_id), array_agg(pack_id), array_agg(held_from), array_agg(held_to), array_agg(tenure_no), array_agg(zone)
FROM (
    SELECT tenures.tenant_id, pack_id, held_from, held_to, tenure_no, coalesce(zone, 'UTC') AS zone FROM tenures
    LEFT JOIN sites ON sites.tenant_id = tenures.tenant_id AND sites.id = site_id
    WHERE tenures.tenant_id = %(tenant_id)s AND held_from < %(to)s AND held_to > %(from)s
        AND (%(kind)s = 'all' OR %(kind)s = 'site' AND site_id = %(group_id)s OR %(kind)s = 'model' AND model_id = %(group_id)s
            OR %(kind)s = 'saved' AND pack_id = ANY(%(packs)s::int4[]))
    ORDER BY pack_id, held_from
) AS holding

-- name: noted_of_group
-- Quarter-hours of a group's packs that are to be counted again.
SELECT array_agg(pack_id), array_agg(starts) FROM (
    SELECT DISTINCT pack_id, starts FROM window_notes
    WHERE tenant_id = %(tenant_id)s AND starts >= %(from)s AND starts < %(to)s
        AND (%(kind)s = 'all' OR pack_id IN (
            SELECT pack_id FROM tenures WHERE tenant_id = %(tenant_id)s
                AND (%(kind)s = 'all' OR %(kind)s = 'site' AND site_id = %(group_id)s OR %(kind)s = 'model' AND model_id = %(group_id)s
            OR %(kind)s = 'saved' AND pack_id = ANY(%(packs)s::int4[]))
        ))
    ORDER BY pack_id, starts LIMIT %(limit)s
) AS noted

-- name: days_of_group
-- Days of a group's packs, as far as they are folded, with the position of each day.
SELECT array_agg(pack_days.tenure_no), array_agg(starts), array_agg(ends), array_agg(place), string_agg(record, '') FROM (
    SELECT pack_days.tenure_no, starts, ends, day - %(from)s::date AS place, record FROM pack_days
    JOIN tenures USING (tenure_no)
    WHERE pack_days.tenant_id = %(tenant_id)s AND day >= %(from)s AND day < %(to)s
        AND (%(kind)s = 'all' OR %(kind)s = 'site' AND site_id = %(group_id)s OR %(kind)s = 'model' AND model_id = %(group_id)s
            OR %(kind)s = 'saved' AND pack_days.pack_id = ANY(%(packs)s::int4[]))
    LIMIT %(limit)s
) AS pack_days

-- name: quarters_of_tenures
-- Stored quarter-hours of some tenures of a tenant, each in its own span, up to a limit.
SELECT array_agg(place), array_agg(starts), string_agg(record, '') FROM (
    SELECT wanted.place, stored.starts, record
    FROM unnest(%(place)s::int4[], %(pack)s::int4[], %(tenure)s::int4[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS wanted (place, pack, tenure, starts, ends)
    CROSS JOIN LATERAL (
        SELECT quarters.starts, record FROM quarters
        WHERE tenant_id = %(tenant_id)s AND pack_id = wanted.pack AND tenure_no = wanted.tenure
            AND quarters.starts >= wanted.starts AND quarters.starts < wanted.ends
            AND quarters.starts >= %(from)s AND quarters.starts < %(to)s
        OFFSET 0
    ) AS stored
    LIMIT %(limit)s
) AS found

-- name: readings_of_packs
-- A tenant's readings of some packs, each in its own spans, up to a limit.
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(ts), {measure_arrays} FROM (
    SELECT stored.*
    FROM unnest(%(pack)s::int4[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS wanted (pack, starts, ends)
    CROSS JOIN LATERAL (
        SELECT tenant_id, pack_id, ts, {measures} FROM readings
        WHERE tenant_id = %(tenant_id)s AND pack_id = wanted.pack AND ts >= wanted.starts AND ts < wanted.ends
            AND ts >= %(from)s AND ts < %(to)s
        OFFSET 0
    ) AS stored
    LIMIT %(limit)s
) AS found

-- name: readings_since
-- A tenant's readings of a span that isn't counted yet, of some packs or of all, up to a limit.
SELECT array_agg(tenant_id), array_agg(pack_id), array_agg(ts), {measure_arrays} FROM (
    SELECT tenant_id, pack_id, ts, {measures} FROM readings
    WHERE tenant_id = %(tenant_id)s AND ts >= %(from)s AND ts < %(to)s
        AND (%(packs)s::int4[] IS NULL OR pack_id = ANY(%(packs)s::int4[]))
    LIMIT %(limit)s
) AS found

-- name: waiting_days
-- Days that are to be folded again: of groups, of packs, and all near those of packs whose site or zone was put right.
SELECT day FROM groups_to_fold WHERE tenant_id = %(tenant_id)s AND day >= %(from)s AND day < %(to)s
UNION
SELECT day FROM days_to_fold WHERE tenant_id = %(tenant_id)s AND day >= %(from)s AND day < %(to)s
UNION
SELECT day + around FROM window_notes
JOIN (
    SELECT tenant_id, pack_id, day FROM pack_days
    UNION ALL
    SELECT tenant_id, pack_id, day FROM days_to_fold
) AS known USING (tenant_id, pack_id), generate_series(-2, 2) AS around
WHERE tenant_id = %(tenant_id)s AND window_notes.starts = '-infinity' AND day >= %(from)s - 2 AND day < %(to)s + 2

-- name: closed_span
-- What answers about a span depend on; without a mark nothing is counted.
SELECT
    registry_version,
    coalesce((
        SELECT sum(changes) FROM closed_changes
        WHERE closed_changes.tenant_id = tenants.tenant_id
            AND day >= (%(from)s::timestamptz AT TIME ZONE 'UTC')::date
            AND day <= (%(until)s::timestamptz AT TIME ZONE 'UTC')::date
    ), 0)::int8 AS changes,
    (SELECT min(counted_before) >= %(until)s::timestamptz FROM window_marks) AS is_counted
FROM tenants WHERE tenant_id = %(tenant_id)s
