-- name: set_tenant
SELECT set_config('bpm.tenant_id', %(tenant)s, true)

-- name: audit
INSERT INTO audit_log (
    tenant_id, subject, action, resource, resource_id, before, after, request_id, client_address, site
) VALUES (
    %(tenant_id)s, %(subject)s, %(action)s, %(resource)s, %(resource_id)s, %(before)s, %(after)s, %(request_id)s,
    %(client_address)s, %(site)s
)

-- name: registry_changed
UPDATE tenants SET registry_version = changed_registry(registry_version) WHERE tenant_id = %(tenant_id)s
