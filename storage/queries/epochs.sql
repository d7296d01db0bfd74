-- name: raise
-- All access tokens that the holder has so far have ended; every process is told on commit.
WITH raised AS (
    INSERT INTO credential_epochs (tenant_id, holder, epoch, raised_at)
    VALUES (%(tenant_id)s, %(holder)s, nextval('credential_epochs_epoch_seq'), clock_timestamp())
    ON CONFLICT (tenant_id, holder) DO UPDATE SET epoch = excluded.epoch, raised_at = excluded.raised_at
    RETURNING epoch
)
SELECT epoch, pg_notify('bpm_credentials', '') FROM raised

-- name: raise_of_platform
WITH raised AS (
    INSERT INTO platform_epochs (holder, epoch, raised_at)
    VALUES (%(holder)s, nextval('credential_epochs_epoch_seq'), clock_timestamp())
    ON CONFLICT (holder) DO UPDATE SET epoch = excluded.epoch, raised_at = excluded.raised_at
    RETURNING epoch
)
SELECT epoch, pg_notify('bpm_credentials', '') FROM raised

-- name: of_holder
SELECT epoch, extract(epoch FROM raised_at)::float8 AS raised_at_s FROM credential_epochs
WHERE tenant_id = %(tenant_id)s AND holder = %(holder)s

-- name: of_holder_of_platform
SELECT epoch, extract(epoch FROM raised_at)::float8 AS raised_at_s FROM platform_epochs WHERE holder = %(holder)s

-- name: all
SELECT tenant_id, holder, epoch, extract(epoch FROM raised_at)::float8 AS raised_at_s FROM credential_epochs
UNION ALL
SELECT 0, holder, epoch, extract(epoch FROM raised_at)::float8 FROM platform_epochs

-- name: drop_old
-- By the slower of two clocks: one that jumped must not bring credentials back.
WITH of_platform AS (
    DELETE FROM platform_epochs
    WHERE raised_at <= least(%(now)s, clock_timestamp()) - make_interval(secs => %(keep_s)s)
)
DELETE FROM credential_epochs
WHERE raised_at <= least(%(now)s, clock_timestamp()) - make_interval(secs => %(keep_s)s)
