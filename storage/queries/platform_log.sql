-- name: note
INSERT INTO platform_log (subject, client_address, action, resource, resource_id, after, request_id)
VALUES (%(subject)s, %(client_address)s, %(action)s, %(resource)s, %(resource_id)s, %(after)s, %(request_id)s)

-- name: note_in_tenant
INSERT INTO audit_log (tenant_id, subject, client_address, action, resource, resource_id, after, request_id)
VALUES (
    %(tenant)s, %(subject)s, %(client_address)s, %(action)s, %(resource)s, %(resource_id)s, %(after)s, %(request_id)s
)

-- name: list
-- The newest first.
SELECT id, at, subject, client_address, action, resource, resource_id, after, request_id
FROM platform_log
WHERE (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
    AND (%(starts)s::timestamptz IS NULL OR at >= %(starts)s)
    AND (%(ends)s::timestamptz IS NULL OR at < %(ends)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(resource)s::text IS NULL OR resource = %(resource)s)
    AND (%(resource_id)s::text IS NULL OR resource_id = %(resource_id)s)
ORDER BY id DESC LIMIT %(limit)s
