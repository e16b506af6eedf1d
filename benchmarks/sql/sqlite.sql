-- Raw limits, and rows by the million.

-- name: make_raw
-- The table of the raw limits.
CREATE TABLE raw (id INTEGER PRIMARY KEY, body BLOB NOT NULL);

-- name: insert_raw
-- One row.
INSERT INTO raw (body) VALUES (?);

-- name: take_seqs
-- The place before the first copy.
SELECT max(seq) FROM invocation;

-- name: copy_invocations
-- Copies of the first invocation, with ids of their own, as if they had never begun unless finished.
INSERT INTO invocation (
    seq, invocation_id, generation, app, kind, name, root_id, root_generation, queue, limit_key,
    priority, state, epoch, owner, wake_at, ready_since, head, head_hash, last_token, attempts,
    crashes, base_time, created_at, finished_at, reason, outcome
)
WITH RECURSIVE number (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count
)
SELECT
    :after + n,
    :kind || '-' || n,
    1, app, kind, name,
    :kind || '-' || n,
    1, queue, limit_key, priority,
    CASE :kind WHEN 'finished' THEN state WHEN 'waiting' THEN 'waiting' ELSE 'ready' END,
    CASE :kind WHEN 'delayed' THEN 0 ELSE epoch END,
    '',
    CASE :kind
        WHEN 'waiting' THEN :first + 86400000000 + n
        WHEN 'delayed' THEN :first + n * :step
    END,
    ready_since,
    CASE :kind WHEN 'finished' THEN head ELSE 0 END,
    CASE :kind WHEN 'finished' THEN head_hash ELSE x'' END,
    last_token, 0, 0,
    CASE :kind WHEN 'delayed' THEN NULL ELSE base_time END,
    created_at + n,
    CASE :kind WHEN 'finished' THEN finished_at END,
    '',
    CASE :kind WHEN 'finished' THEN outcome END
FROM invocation CROSS JOIN number
WHERE invocation_id = 'sample';

-- name: copy_calls
-- What was asked of the copies.
INSERT INTO call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
)
WITH RECURSIVE number (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count
)
SELECT
    :after + n, arguments, fingerprint, call_id, :kind || '-' || n, 1, options, code_version,
    seed, draw_algorithm, segment
FROM call CROSS JOIN number
WHERE seq = (SELECT seq FROM invocation WHERE invocation_id = 'sample');

-- name: copy_call
-- What was asked of one copy, with a seed of its own.
INSERT INTO call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
)
SELECT
    :seq, arguments, fingerprint, call_id, :id, 1, options, code_version,
    :seed, draw_algorithm, segment
FROM call
WHERE seq = (SELECT seq FROM invocation WHERE invocation_id = 'sample');
