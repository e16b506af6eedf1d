-- min_reader: 2
-- min_writer: 2
-- Queues with limits. Claims walk the due rows of one queue at a time, so what waits behind a full
-- queue costs the others nothing; the indexes begin with the queue for that.

ALTER TABLE invocation ADD COLUMN limit_key TEXT NOT NULL DEFAULT '';
UPDATE invocation SET queue = 'default' WHERE queue = '';

DROP INDEX invocation_due;
DROP INDEX invocation_due_in_tree;
CREATE INDEX invocation_due
    ON invocation (app, queue, priority DESC, timed, due_at, seq, name, limit_key)
    WHERE due_at IS NOT NULL;
CREATE INDEX invocation_due_in_tree
    ON invocation (
        root_id, root_generation, queue, priority DESC, timed, due_at, seq, name, limit_key
    )
    WHERE due_at IS NOT NULL;

-- What is counted against the limits of a queue.
CREATE INDEX invocation_running_in_queue ON invocation (app, queue, limit_key)
    WHERE state = 'running';

-- When something of a queue with a rate was claimed. A log whose rows age out, and not a counter,
-- which a crash could leave too high.
CREATE TABLE claim_log (
    app TEXT NOT NULL,
    queue TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX claim_log_age ON claim_log (app, queue, at);

-- The columns in the order of `InvocationRecord`.
DROP VIEW record;
CREATE VIEW record AS
SELECT
    invocation_id, generation, app, kind, name, arguments, fingerprint, call_id,
    parent_id, parent_generation, root_id, root_generation, workflow_id, workflow_generation,
    queue, limit_key, priority, options, code_version, seed, draw_algorithm, segment,
    state, epoch, owner, lease_until, wake_at, head, head_hash, last_token, attempts, crashes,
    base_time, created_at, finished_at, outcome, reason, seq
FROM invocation INNER JOIN call USING (seq);
