-- name: insert_import
INSERT INTO imports (tenant_id, source, created_by) VALUES (%(tenant_id)s, %(source)s, %(subject)s)
RETURNING id, source, created_by, created_at

-- name: list_imports
SELECT
    imports.id, imports.source, created_by, created_at,
    coalesce(sum(received), 0)::bigint AS received, coalesce(sum(accepted), 0)::bigint AS accepted,
    coalesce(sum(duplicate), 0)::bigint AS duplicate, coalesce(sum(quarantined), 0)::bigint AS quarantined,
    coalesce(sum(conflicting), 0)::bigint AS conflicting
FROM imports
LEFT JOIN batches ON batches.tenant_id = imports.tenant_id AND batches.import_id = imports.id
    AND (part_of IS NULL OR parts IS NOT NULL)
WHERE imports.tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR imports.id = %(id)s)
    AND (%(only_subject)s::text IS NULL OR created_by = %(only_subject)s)
    AND (%(after)s::uuid IS NULL OR imports.id > %(after)s)
GROUP BY imports.tenant_id, imports.id ORDER BY imports.id LIMIT %(limit)s
