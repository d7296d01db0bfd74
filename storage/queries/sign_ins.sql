-- name: begin
-- Counts an attempt before it is made, so that many at once don't get more guesses than one after the other. A row
-- that is blocked isn't changed, and nothing is returned.
INSERT INTO sign_in_failures AS known (digest, failures, last_at, blocked_until)
VALUES (%(digest)s, 1, %(now)s, %(now)s)
ON CONFLICT (digest) DO UPDATE SET
    failures = CASE WHEN known.last_at <= %(forgotten_before)s THEN 1 ELSE least(known.failures + 1, 1000) END,
    last_at = %(now)s,
    blocked_until = CASE
        WHEN known.last_at <= %(forgotten_before)s OR known.failures + 1 < %(failures_free)s THEN %(now)s
        ELSE %(now)s + make_interval(secs => least(
            %(wait_s)s * power(2::float8, least(known.failures + 1 - %(failures_free)s, 30)), %(wait_s_max)s
        ))
    END
    WHERE known.blocked_until <= %(now)s
RETURNING failures

-- name: blocked
SELECT extract(epoch FROM blocked_until - %(now)s)::float8 AS wait_s FROM sign_in_failures WHERE digest = %(digest)s

-- name: forget
DELETE FROM sign_in_failures WHERE digest = %(digest)s

-- name: drop_old
DELETE FROM sign_in_failures
WHERE last_at <= %(before)s AND blocked_until <= %(now)s
    OR digest IN (SELECT digest FROM sign_in_failures ORDER BY last_at DESC OFFSET %(rows_max)s)
