-- Rows of invocations: start, read, claim, renew, resume.

-- name: store_id
-- The random id made with the database.
SELECT store_id FROM meta;

-- name: read_latest
-- The newest generation of an id.
SELECT * FROM record WHERE invocation_id = :id ORDER BY generation DESC LIMIT 1;

-- name: read_generation
-- One generation of an id.
SELECT * FROM record WHERE invocation_id = :id AND generation = :generation;

-- name: insert_invocation
-- The hot row of a new invocation: ready, epoch 0, an empty journal.
INSERT INTO invocation (
    invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
    root_generation, queue, limit_key, priority, state, epoch, owner, lease_until, wake_at,
    ready_since,
    head, head_hash, last_token, attempts, crashes, base_time, created_at, finished_at, reason,
    outcome, deadline
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready', 0, '', NULL, ?, ?, 0, x'', x'', 0, 0, NULL, ?,
    NULL, '', NULL, ?
);

-- name: insert_claimed
-- The hot row of a new invocation that its start claims: running, epoch 1, an empty journal.
INSERT INTO invocation (
    invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
    root_generation, queue, limit_key, priority, wake_at, ready_since, created_at, deadline, epoch,
    owner, lease_until, last_token, base_time, state, head, head_hash, attempts, crashes,
    finished_at, reason, outcome
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    'running', 0, x'', 0, 0, NULL, '', NULL
);

-- name: insert_call
-- The cold row of a new invocation: what was asked; it never changes.
INSERT INTO call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: query_page
-- One page of an app's invocations, newest first, that follows the row (:after_created_at,
-- :after_id, :after_generation). A filter that is NULL does not filter.
SELECT * FROM record
WHERE app = :app
    AND (created_at, invocation_id, generation)
        < (:after_created_at, :after_id, :after_generation)
    AND (:kind IS NULL OR kind = :kind)
    AND (:name IS NULL OR name = :name)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:prefix IS NULL OR substr(invocation_id, 1, length(:prefix)) = :prefix)
ORDER BY created_at DESC, invocation_id DESC, generation DESC
LIMIT :limit;

-- name: query_live
-- Like query_page, for states whose rows are due now or at some time: looked for among those rows
-- and not among all that have ended.
WITH found AS MATERIALIZED (
    SELECT seq FROM invocation INDEXED BY invocation_due
    WHERE app = :app AND due_at IS NOT NULL
        AND state IN (SELECT value FROM json_each(:states))
        AND (created_at, invocation_id, generation)
            < (:after_created_at, :after_id, :after_generation)
        AND (:kind IS NULL OR kind = :kind)
        AND (:name IS NULL OR name = :name)
        AND (:prefix IS NULL OR substr(invocation_id, 1, length(:prefix)) = :prefix)
    ORDER BY created_at DESC, invocation_id DESC, generation DESC
    LIMIT :limit
)
SELECT record.* FROM found INNER JOIN record USING (seq)
ORDER BY created_at DESC, invocation_id DESC, generation DESC;

-- name: query_children
-- One page of the children of one parent, found by the parent and not by age.
SELECT * FROM record
WHERE parent_id = :parent_id AND parent_generation = :parent_generation
    AND +app = :app
    AND (created_at, invocation_id, generation)
        < (:after_created_at, :after_id, :after_generation)
    AND (:kind IS NULL OR kind = :kind)
    AND (:name IS NULL OR name = :name)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:prefix IS NULL OR substr(invocation_id, 1, length(:prefix)) = :prefix)
ORDER BY created_at DESC, invocation_id DESC, generation DESC
LIMIT :limit;

-- name: created_at
-- Where a page ended.
SELECT created_at FROM invocation WHERE invocation_id = :id AND generation = :generation;

-- name: next_queue
-- The first queue after :after with rows that time can make claimable.
SELECT queue FROM invocation
WHERE app = :app AND due_at IS NOT NULL AND queue > :after
ORDER BY queue LIMIT 1;

-- name: next_priority
-- The highest priority, at most :highest, among rows of a queue that time can make claimable.
SELECT priority FROM invocation
WHERE app = :app AND queue = :queue AND due_at IS NOT NULL AND priority <= :highest
ORDER BY priority DESC LIMIT 1;

-- name: due
-- Rows of one queue and priority due by :now, longest due first: ready ones (:timed is 0, and :now
-- is beyond all time) or those of timers, delays and leases (:timed is 1), but none with a key in
-- :full_keys. A page that follows the row (:after_due, :after_seq); SQLite begins it at the first of
-- the rows that are due at :after_due.
SELECT due_at, seq, limit_key FROM invocation
WHERE app = :app AND queue = :queue AND priority = :priority AND timed = :timed
    AND due_at <= :now AND (due_at, seq) > (:after_due, :after_seq)
    AND name IN (SELECT value FROM json_each(:names))
    AND limit_key NOT IN (SELECT value FROM json_each(:full_keys))
ORDER BY due_at, seq LIMIT :limit;

-- name: next_due
-- When the next row of one queue and priority becomes claimable by time alone.
SELECT due_at FROM invocation
WHERE app = :app AND queue = :queue AND priority = :priority AND timed = 1 AND due_at > :now
    AND name IN (SELECT value FROM json_each(:names))
ORDER BY due_at LIMIT 1;

-- name: next_queue_in_tree
-- Like next_queue, within the tree of one root.
SELECT queue FROM invocation
WHERE root_id = :root_id AND root_generation = :root_generation AND due_at IS NOT NULL
    AND queue > :after AND +app = :app
ORDER BY queue LIMIT 1;

-- name: next_priority_in_tree
-- Like next_priority, within the tree of one root.
SELECT priority FROM invocation
WHERE root_id = :root_id AND root_generation = :root_generation AND queue = :queue
    AND due_at IS NOT NULL AND priority <= :highest AND +app = :app
ORDER BY priority DESC LIMIT 1;

-- name: due_in_tree
-- Like due, within the tree of one root.
SELECT due_at, seq, limit_key FROM invocation
WHERE root_id = :root_id AND root_generation = :root_generation AND +app = :app
    AND queue = :queue AND priority = :priority AND timed = :timed AND due_at <= :now
    AND (due_at, seq) > (:after_due, :after_seq)
    AND name IN (SELECT value FROM json_each(:names))
    AND limit_key NOT IN (SELECT value FROM json_each(:full_keys))
ORDER BY due_at, seq LIMIT :limit;

-- name: next_due_in_tree
-- Like next_due, within the tree of one root.
SELECT due_at FROM invocation
WHERE root_id = :root_id AND root_generation = :root_generation AND +app = :app
    AND queue = :queue AND priority = :priority AND timed = 1 AND due_at > :now
    AND name IN (SELECT value FROM json_each(:names))
ORDER BY due_at LIMIT 1;

-- name: abandoned
-- Rows whose owner is known to be gone while the lease still runs; they are claimable at once.
SELECT priority, seq, queue, limit_key, root_id, root_generation FROM invocation
WHERE state = 'running' AND owner IN (SELECT value FROM json_each(:owners))
    AND lease_until > :now AND +app = :app
    AND name IN (SELECT value FROM json_each(:names));

-- name: queue_usage
-- Live leases of a queue, and how many of them are :owner's.
SELECT count(*), count(*) FILTER (WHERE owner = :owner) FROM invocation
WHERE app = :app AND queue = :queue AND state = 'running' AND lease_until > :now
    AND owner NOT IN (SELECT value FROM json_each(:dead_owners));

-- name: key_usage
-- Live leases of a queue with one limit key.
SELECT count(*) FROM invocation
WHERE app = :app AND queue = :queue AND limit_key = :limit_key AND state = 'running'
    AND lease_until > :now AND owner NOT IN (SELECT value FROM json_each(:dead_owners));

-- name: recent_claims
-- Claims of a queue with a rate after :since.
SELECT count(*) FROM claim_log WHERE app = :app AND queue = :queue AND at > :since;

-- name: log_claims
-- The rows of one queue among those just claimed.
INSERT INTO claim_log (app, queue, at)
SELECT app, queue, :now FROM invocation
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND queue = :queue;

-- name: forget_claims
-- Claims that no rate looks at any more.
DELETE FROM claim_log WHERE app = :app AND queue = :queue AND at <= :since;

-- name: queues
-- Each queue with something that time can make claimable: ready, scheduled, running, and since when
-- the first one is ready.
SELECT
    queue,
    count(*) FILTER (WHERE timed = 0 OR due_at <= :now),
    count(*) FILTER (WHERE timed = 1 AND due_at > :now AND state <> 'running'),
    count(*) FILTER (WHERE due_at > :now AND state = 'running'),
    min(due_at) FILTER (WHERE timed = 0 OR due_at <= :now)
FROM invocation WHERE app = :app AND due_at IS NOT NULL GROUP BY queue ORDER BY queue;

-- name: grant
-- The claim itself, of rows found claimable in this transaction. Taking a running row is a crash.
UPDATE invocation SET
    state = 'running',
    epoch = epoch + 1,
    owner = :owner,
    lease_until = :until,
    wake_at = NULL,
    crashes = crashes + (state = 'running'),
    base_time = coalesce(base_time, :now)
WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: read_granted
-- The rows just claimed, with what was asked of them.
SELECT * FROM record WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: renew
-- A longer lease, if it is still held and not over.
UPDATE invocation SET lease_until = perdure_now() + :lease
WHERE invocation_id = :id AND generation = :generation AND epoch = :epoch
    AND state = 'running' AND owner = :owner AND lease_until > perdure_now();

-- name: resume
-- Paused, parked or dead back to ready, with a fresh set of chances.
UPDATE invocation
SET state = 'ready', crashes = 0, reason = '', wake_at = NULL, ready_since = perdure_now()
WHERE invocation_id = :id AND generation = :generation AND state IN ('paused', 'parked', 'dead');

-- name: past_deadline
-- What is past its deadline and nobody has claimed, earliest deadline first.
SELECT record.*
FROM invocation INDEXED BY invocation_deadline INNER JOIN record USING (seq)
WHERE invocation.app = :app AND invocation.deadline <= :now
    AND invocation.state = 'ready' AND invocation.epoch = 0
ORDER BY invocation.deadline, seq LIMIT :limit;

-- name: owners
-- Who holds leases now.
SELECT DISTINCT owner FROM invocation WHERE state = 'running';
