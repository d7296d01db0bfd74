-- name: count
SELECT count(*) AS count FROM silences
WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL AND ends > clock_timestamp()

-- name: insert
INSERT INTO silences (tenant_id, kind, pack_id, site_id, rule_no, starts, ends, reason, created_by)
VALUES (
    %(tenant_id)s, %(kind)s, %(pack_id)s, %(site_id)s, %(rule_no)s, %(starts)s, %(ends)s, %(reason)s, %(created_by)s
)
RETURNING id

-- name: list
SELECT
    silences.id, silence_no, silences.kind, packs.external_id AS pack, sites.name AS site, rules.id AS rule,
    starts, ends, reason, created_by, silences.created_at, deleted_at AS ended_at
FROM silences
LEFT JOIN packs ON packs.tenant_id = silences.tenant_id AND packs.pack_id = silences.pack_id
LEFT JOIN sites ON sites.tenant_id = silences.tenant_id AND sites.id = silences.site_id
LEFT JOIN rules ON rules.tenant_id = silences.tenant_id AND rules.rule_no = silences.rule_no
WHERE silences.tenant_id = %(tenant_id)s AND (deleted_at IS NULL OR %(id)s::uuid IS NOT NULL)
    AND (%(id)s::uuid IS NULL OR silences.id = %(id)s::uuid)
    AND (%(after)s::bigint IS NULL OR silence_no > %(after)s)
ORDER BY silence_no LIMIT %(limit)s

-- name: delete
UPDATE silences SET deleted_at = clock_timestamp()
WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND deleted_at IS NULL
RETURNING id
