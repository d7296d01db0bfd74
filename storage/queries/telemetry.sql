-- name: insert_import
INSERT INTO imports (tenant_id, source, created_by, expected)
VALUES (%(tenant_id)s, %(source)s, %(subject)s, %(expected)s)
RETURNING id, source, created_by, created_at, expected, undone_at

-- name: list_imports
-- Imports, the newest first, with the sums of their receipts: those that are shown alone are summed.
SELECT
    chosen.id, chosen.source, created_by, created_at, expected, undone_at, sums.*
FROM (
    SELECT * FROM imports
    WHERE imports.tenant_id = %(tenant_id)s AND (%(id)s::uuid IS NULL OR imports.id = %(id)s)
        AND (%(only_subject)s::text IS NULL OR created_by = %(only_subject)s)
        AND (%(after_at)s::timestamptz IS NULL OR (created_at, imports.id) < (%(after_at)s, %(after)s::uuid))
    ORDER BY created_at DESC, imports.id DESC LIMIT %(limit)s
) AS chosen
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(received), 0)::bigint AS received, coalesce(sum(accepted), 0)::bigint AS accepted,
        coalesce(sum(duplicate), 0)::bigint AS duplicate, coalesce(sum(quarantined), 0)::bigint AS quarantined,
        coalesce(sum(conflicting), 0)::bigint AS conflicting, max(arrived_at) AS last_arrived_at
    FROM batches
    WHERE batches.tenant_id = chosen.tenant_id AND batches.import_id = chosen.id
        AND (part_of IS NULL OR parts IS NOT NULL)
) AS sums
ORDER BY created_at DESC, chosen.id DESC
