-- name: counted_before
SELECT hypertables, (SELECT min(counted_before) FROM window_marks) AS counted_before FROM installation

-- name: take_turn
SELECT pg_try_advisory_xact_lock(hashtext('bpm.hypertables')) AS mine

-- name: compress
SELECT compress_chunk_before(%(hypertable)s, %(before)s) AS chunk

-- name: drop
SELECT drop_archived_chunks(%(before)s) AS chunks
