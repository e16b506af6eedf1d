-- What a commit of a lease holder does: the fence first, the disposition last.

-- name: advance
-- The fence and the new head in one statement. No changed row means: refused. The id is compared
-- too, so that a wrong seq could never move another journal.
UPDATE invocation SET
    head = ?, head_hash = coalesce(?, head_hash), last_token = ?, crashes = crashes * ?
WHERE seq = ? AND state = 'running' AND epoch = ? AND head = ?
    AND invocation_id = ? AND generation = ?;

-- name: seize
-- One live row is taken from whoever has it; what follows in the transaction settles it.
UPDATE invocation SET epoch = epoch + 1, last_token = :token, reason = ''
WHERE invocation_id = :id AND generation = :generation AND epoch = :epoch
    AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
RETURNING seq;

-- name: find
-- The seq of a row.
SELECT seq FROM invocation WHERE invocation_id = :id AND generation = :generation;

-- name: fence
-- What the fence saw, to tell one refusal from another.
SELECT epoch, head FROM invocation
WHERE invocation_id = :id AND generation = :generation AND state = 'running';

-- name: any_taken
-- Whether one of these ids has a row of any generation.
SELECT 1 FROM invocation
WHERE invocation_id IN (SELECT value FROM json_each(:ids)) LIMIT 1;

-- name: append
-- One journal entry. Its key is unique, so an entry is never written over.
INSERT INTO entry (
    id, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum, codec,
    key_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: consume
-- An inbox row that an entry of this transaction delivered.
DELETE FROM inbox WHERE row_id = ? AND seq = ?;

-- name: set_data
-- One value of the workflow's data.
INSERT INTO workflow_data (seq, name, value) VALUES (?, ?, ?)
ON CONFLICT (seq, name) DO UPDATE SET value = excluded.value;

-- name: watched
-- The row to be watched, if it is there.
SELECT seq, state FROM invocation WHERE invocation_id = :id AND generation = :generation;

-- name: watch
-- A watcher of a row that has not ended.
INSERT INTO watch (target, watcher) VALUES (?, ?);

-- name: watchers
-- Whom an end is told to, in the order they asked.
SELECT watch.watcher, invocation.invocation_id, invocation.generation, invocation.state
FROM watch INNER JOIN invocation ON invocation.seq = watch.watcher
WHERE watch.target = :seq ORDER BY watch.watch_id;

-- name: unwatch
-- The watches of a row that ended.
DELETE FROM watch WHERE target = :seq;

-- name: deliver
-- Something for a workflow to read.
INSERT INTO inbox (seq, kind, source_id, source_generation) VALUES (?, ?, ?, ?);

-- name: wake
-- A waiting row that got something to read is ready.
UPDATE invocation SET state = 'ready', wake_at = NULL, ready_since = perdure_now()
WHERE seq = :seq AND state = 'waiting';

-- name: suspend
-- Waiting, or ready at once when there is something unread or the time has come.
UPDATE invocation SET
    state = CASE WHEN woken.already THEN 'ready' ELSE 'waiting' END,
    wake_at = CASE WHEN woken.already THEN NULL ELSE :wake_at END,
    ready_since = perdure_now(),
    owner = '',
    lease_until = NULL
FROM (
    SELECT
        EXISTS (SELECT 1 FROM inbox WHERE inbox.seq = :seq)
        OR coalesce(:wake_at <= perdure_now(), 0) AS already
) AS woken
WHERE invocation.seq = :seq
RETURNING state;

-- name: finish
-- A terminal state with its outcome. Also whether anybody waits for it here or on another server,
-- and whether it has something unread: most ends have nothing of these, and need no more statements.
UPDATE invocation SET
    state = ?, outcome = ?, finished_at = perdure_now(), owner = '', lease_until = NULL,
    wake_at = NULL
WHERE seq = ?
RETURNING
    EXISTS (SELECT 1 FROM watch WHERE target = seq),
    EXISTS (
        SELECT 1 FROM foreign_watcher
        WHERE target_id = invocation_id AND target_generation = generation
    ),
    EXISTS (SELECT 1 FROM inbox WHERE inbox.seq = invocation.seq);

-- name: drop_inbox
-- What an ended invocation will never read.
DELETE FROM inbox WHERE seq = :seq;

-- name: release
-- Ready again; a failed attempt counts (:failed is 1), a lease given back does not (0).
UPDATE invocation SET
    state = 'ready', attempts = attempts + :failed, ready_since = perdure_now(), owner = '',
    lease_until = NULL, wake_at = NULL
WHERE seq = :seq;

-- name: retry_later
-- A failed attempt, to be tried again after :delay.
UPDATE invocation SET
    state = 'waiting', attempts = attempts + 1, wake_at = perdure_now() + :delay, owner = '',
    lease_until = NULL
WHERE seq = :seq;

-- name: stop
-- Parked or dead, with the reason for people.
UPDATE invocation SET
    state = :state, reason = :reason, owner = '', lease_until = NULL, wake_at = NULL
WHERE seq = :seq;
