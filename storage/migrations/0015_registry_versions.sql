-- A database that was restored from a backup gives numbers again that messages of a topic already use. So a version of
-- the registry is never given twice, and a pack is known by a mark besides its number.

CREATE FUNCTION changed_registry(version bigint) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (version >> 32 << 32) | floor(random() * 4294967296)::bigint;
COMMENT ON FUNCTION changed_registry IS 'The next registry_version of a tenant: the same upper half, another lower half.';

ALTER TABLE tenants ALTER COLUMN registry_version SET DEFAULT
    (floor(random() * 2147483648)::bigint << 32) | floor(random() * 4294967296)::bigint;
UPDATE tenants SET
    registry_version = (floor(random() * 2147483648)::bigint << 32) | floor(random() * 4294967296)::bigint;
COMMENT ON COLUMN tenants.registry_version IS
    'Changes with every change of a tenure or of a model''s limits, so that the writer knows a stale validation. At random: the upper half is the tenant''s for good, by which the writer knows a message for another tenant that had the same number before a restore.';

CREATE FUNCTION pack_mark(id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('x' || translate(left(id::text, 18), '-', ''))::bit(64)::bigint;
COMMENT ON FUNCTION pack_mark IS 'The upper half of a pack''s id: no other pack has it, so it tells whose a number is.';
