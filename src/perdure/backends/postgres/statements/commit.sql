-- What a batch of commits does: one look that locks, then one statement per kind of change.

-- name: lock_rows
-- Every row that the batch may change, locked in the order of seq: those of the transitions, those
-- they watch, and those that watch what ends.
SELECT
    seq, invocation_id, generation, state, epoch, head, head_hash, owner, lease_until, wake_at,
    ready_since, attempts, crashes, (SELECT perdure.now())
FROM perdure.invocation
WHERE seq IN (
    SELECT invocation.seq
    FROM perdure.invocation INNER JOIN unnest(%(ids)s::text[], %(generations)s::int[])
        AS named (id, generation)
        ON invocation.invocation_id = named.id AND invocation.generation = named.generation
    UNION
    SELECT watch.watcher
    FROM perdure.watch INNER JOIN perdure.invocation AS target ON target.seq = watch.target
        INNER JOIN unnest(%(ending_ids)s::text[], %(ending_generations)s::int[])
            AS ending (id, generation)
            ON target.invocation_id = ending.id AND target.generation = ending.generation
)
ORDER BY seq FOR UPDATE;

-- name: watchers
-- Who watches what ends, in the order they asked. Read after the locks, so it is complete.
SELECT target, watcher
FROM perdure.watch INNER JOIN perdure.invocation AS ending ON ending.seq = watch.target
    INNER JOIN unnest(%(ending_ids)s::text[], %(ending_generations)s::int[])
        AS named (id, generation)
        ON ending.invocation_id = named.id AND ending.generation = named.generation
ORDER BY watch_id;

-- name: unread
-- Unread inbox rows of what is about to wait or to end.
SELECT invocation.seq, row_id
FROM perdure.inbox INNER JOIN perdure.invocation USING (seq)
    INNER JOIN unnest(%(ids)s::text[], %(generations)s::int[]) AS named (id, generation)
        ON invocation.invocation_id = named.id AND invocation.generation = named.generation
ORDER BY row_id;

-- name: any_taken
-- Which of these ids have a row of any generation.
SELECT DISTINCT invocation_id FROM perdure.invocation WHERE invocation_id = ANY(%(ids)s);

-- name: advance
-- All rows that the batch changed, in one statement.
UPDATE perdure.invocation SET
    state = changed.state,
    owner = changed.owner,
    lease_until = changed.lease_until,
    wake_at = changed.wake_at,
    ready_since = changed.ready_since,
    head = changed.head,
    head_hash = changed.head_hash,
    last_token = coalesce(changed.last_token, invocation.last_token),
    attempts = changed.attempts,
    crashes = changed.crashes,
    finished_at = changed.finished_at,
    reason = changed.reason,
    outcome = changed.outcome
FROM unnest(
    %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],
    %s::bytea[]
) AS changed (
    seq, epoch, state, owner, lease_until, wake_at, ready_since, head, head_hash, last_token,
    attempts, crashes, finished_at, reason, outcome
)
WHERE invocation.seq = changed.seq AND invocation.epoch = changed.epoch;

-- name: append
-- The entries of all journals in one statement, joined to the epoch of their rows. Their key is
-- unique, so an entry is never written over.
INSERT INTO perdure.entry (
    seq, position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum,
    codec, key_id
)
SELECT new.*
FROM unnest(
    %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[],
    %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[],
    %s::text[], %s::text[]
) AS new (
    seq, position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum,
    codec, key_id
)
INNER JOIN unnest(%s::bigint[], %s::bigint[]) AS holder (seq, epoch) USING (seq)
INNER JOIN perdure.invocation ON invocation.seq = holder.seq AND invocation.epoch = holder.epoch;

-- name: insert_children
-- The hot rows of all children. A taken id fails the statement; the batch is then looked at anew.
INSERT INTO perdure.invocation (
    seq, invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
    root_generation, queue, limit_key, priority, wake_at, created_at, ready_since, state, epoch,
    owner, head, head_hash, last_token, attempts, crashes, reason
)
SELECT new.*, 'ready', 0, '', 0, ''::bytea, ''::bytea, 0, 0, ''
FROM unnest(
    %s::bigint[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[],
    %s::text[], %s::int[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[]
) AS new;

-- name: insert_calls
-- The cold rows of all children.
INSERT INTO perdure.call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
)
SELECT new.* FROM unnest(
    %s::bigint[], %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::int[], %s::bytea[],
    %s::text[], %s::bytea[], %s::int[], %s::int[]
) AS new;

-- name: consume
-- Inbox rows that entries of the batch delivered.
DELETE FROM perdure.inbox USING unnest(%s::bigint[], %s::bigint[]) AS read (row_id, seq)
WHERE inbox.row_id = read.row_id AND inbox.seq = read.seq;

-- name: set_data
-- Values of workflows' data; the last one of a name wins.
INSERT INTO perdure.workflow_data (seq, name, value)
SELECT new.* FROM unnest(%s::bigint[], %s::text[], %s::bytea[]) AS new
ON CONFLICT (seq, name) DO UPDATE SET value = excluded.value;

-- name: watch
-- Watchers of rows that have not ended.
INSERT INTO perdure.watch (target, watcher)
SELECT target, watcher FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY
    AS new (target, watcher, place)
ORDER BY place;

-- name: unwatch
-- The watches of rows that ended; what other servers watch is in the outbox from now on.
WITH noted AS (
    UPDATE perdure.foreign_watcher SET ended = TRUE
    FROM unnest(%(ids)s::text[], %(generations)s::int[]) AS over (id, generation)
    WHERE target_id = over.id AND target_generation = over.generation
)
DELETE FROM perdure.watch WHERE target = ANY(%(targets)s);

-- name: deliver
-- Something for workflows to read, in order.
INSERT INTO perdure.inbox (seq, kind, source_id, source_generation)
SELECT seq, 'done', source_id, source_generation
FROM unnest(%s::bigint[], %s::text[], %s::int[]) WITH ORDINALITY
    AS new (seq, source_id, source_generation, place)
ORDER BY place;

-- name: drop_inbox
-- What ended invocations will never read.
DELETE FROM perdure.inbox WHERE seq = ANY(%(seqs)s);
