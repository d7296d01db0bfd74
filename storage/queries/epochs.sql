-- name: raise
-- All access tokens that the holder has so far have ended; every process is told on commit.
WITH raised AS (
    INSERT INTO credential_epochs (tenant_id, holder, epoch, raised_at)
    VALUES (%(tenant_id)s, %(holder)s, nextval('credential_epochs_epoch_seq'), clock_timestamp())
    ON CONFLICT (tenant_id, holder) DO UPDATE SET epoch = excluded.epoch, raised_at = excluded.raised_at
    RETURNING epoch
)
SELECT epoch, pg_notify('bpm_credentials', '') FROM raised

-- name: of_holder
SELECT epoch, extract(epoch FROM raised_at)::float8 AS raised_at_s FROM credential_epochs
WHERE tenant_id = %(tenant_id)s AND holder = %(holder)s

-- name: all
SELECT tenant_id, holder, epoch, extract(epoch FROM raised_at)::float8 AS raised_at_s FROM credential_epochs

-- name: drop_old
-- By the slower of two clocks: one that jumped must not bring credentials back.
DELETE FROM credential_epochs
WHERE raised_at <= least(%(now)s, clock_timestamp()) - make_interval(secs => %(keep_s)s)
