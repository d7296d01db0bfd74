-- name: insert
INSERT INTO batches (
    tenant_id, id, batch_no, partition_no, position, mode, source, import_id, subject, arrived_at, body_hash,
    received, accepted, duplicate, quarantined, late, conflicting, items, items_omitted, ignored_keys,
    part_of, parts, first_ts, last_ts
) VALUES (
    %(tenant_id)s, %(id)s, %(batch_no)s, %(partition_no)s, %(position)s, %(mode)s, %(source)s, %(import_id)s,
    %(subject)s, %(arrived_at)s, %(body_hash)s, %(received)s, %(accepted)s, %(duplicate)s, %(quarantined)s,
    %(late)s, %(conflicting)s, %(items)s, %(items_omitted)s, %(ignored_keys)s,
    %(part_of)s, %(parts)s, %(first_ts)s, %(last_ts)s
)

-- name: lock_imports
-- Held until commit, so that an import is undone either before or after a group that brings it readings.
SELECT id, undone_at FROM imports WHERE id = ANY(%(imports)s) ORDER BY id FOR SHARE

-- name: find
-- Receipts of batches that were committed before, by (tenant, id).
SELECT
    tenant_id, id, body_hash, received, accepted, duplicate, quarantined, late, conflicting, items,
    items_omitted, ignored_keys
FROM batches JOIN unnest(%(tenants)s::int4[], %(ids)s::uuid[]) AS wanted (tenant, batch)
    ON tenant_id = wanted.tenant AND id = wanted.batch
