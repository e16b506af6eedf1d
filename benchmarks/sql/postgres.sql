-- Raw limits, and rows by the million.

-- name: make_raw
-- The table of the raw limits.
CREATE TABLE raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL);

-- name: insert_raw
-- One row in one transaction.
INSERT INTO raw (body) VALUES (%(body)s);

-- name: insert_raws
-- Many rows in one statement.
INSERT INTO raw (body) SELECT unnest(%(bodies)s::bytea[]);

-- name: now
-- Microseconds since 1970 UTC.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- name: stored_bytes
-- What the tables and indexes of perdure take.
SELECT sum(pg_total_relation_size(pg_class.oid))::bigint
FROM pg_class INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'perdure' AND relkind = 'r';

-- name: log_bytes
-- How much write-ahead log the server has written so far.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint;

-- name: take_seqs
-- Places for so many copies; gives the one before the first.
SELECT setval('perdure.invocation_seq', nextval('perdure.invocation_seq') + %(count)s)
    - %(count)s;

-- name: copy_invocations
-- Copies of the first invocation, with ids of their own, as if they had never begun unless finished.
INSERT INTO perdure.invocation (
    seq, invocation_id, generation, app, kind, name, root_id, root_generation, queue, limit_key,
    priority, state, epoch, owner, wake_at, ready_since, head, head_hash, last_token, attempts,
    crashes, base_time, created_at, finished_at, reason, outcome
)
SELECT
    %(after)s::bigint + n,
    %(kind)s::text || '-' || n,
    1, app, kind, name,
    %(kind)s::text || '-' || n,
    1, queue, limit_key, priority,
    CASE %(kind)s::text WHEN 'finished' THEN state WHEN 'waiting' THEN 'waiting' ELSE 'ready' END,
    CASE %(kind)s::text WHEN 'delayed' THEN 0 ELSE epoch END,
    '',
    CASE %(kind)s::text
        WHEN 'waiting' THEN %(first)s::bigint + 86400000000 + n
        WHEN 'delayed' THEN %(first)s::bigint + n * %(step)s::bigint
    END,
    ready_since,
    CASE %(kind)s::text WHEN 'finished' THEN head ELSE 0 END,
    CASE %(kind)s::text WHEN 'finished' THEN head_hash ELSE ''::bytea END,
    last_token, 0, 0,
    CASE %(kind)s::text WHEN 'delayed' THEN NULL ELSE base_time END,
    created_at + n,
    CASE %(kind)s::text WHEN 'finished' THEN finished_at END,
    '',
    CASE %(kind)s::text WHEN 'finished' THEN outcome END
FROM perdure.invocation CROSS JOIN generate_series(1, %(count)s::bigint) AS number (n)
WHERE invocation_id = 'sample';

-- name: copy_calls
-- What was asked of the copies.
INSERT INTO perdure.call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
)
SELECT
    %(after)s::bigint + n, arguments, fingerprint, call_id, %(kind)s::text || '-' || n, 1, options, code_version,
    seed, draw_algorithm, segment
FROM perdure.call CROSS JOIN generate_series(1, %(count)s::bigint) AS number (n)
WHERE seq = (SELECT seq FROM perdure.invocation WHERE invocation_id = 'sample');

-- name: copy_call
-- What was asked of one copy, with a seed of its own.
INSERT INTO perdure.call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
)
SELECT
    %(seq)s::bigint, arguments, fingerprint, call_id, %(id)s::text, 1, options, code_version,
    %(seed)s::bytea, draw_algorithm, segment
FROM perdure.call
WHERE seq = (SELECT seq FROM perdure.invocation WHERE invocation_id = 'sample');
