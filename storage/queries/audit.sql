-- name: list
-- The newest first.
SELECT id, at, subject, action, resource, resource_id, before, after, request_id
FROM audit_log
WHERE tenant_id = %(tenant_id)s
    AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
    AND (%(starts)s::timestamptz IS NULL OR at >= %(starts)s)
    AND (%(ends)s::timestamptz IS NULL OR at < %(ends)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(resource)s::text IS NULL OR resource = %(resource)s)
    AND (%(resource_id)s::text IS NULL OR resource_id = %(resource_id)s)
    AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s)
ORDER BY id DESC LIMIT %(limit)s
