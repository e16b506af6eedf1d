-- What the auditor looks at, on a store that may be in use. Reads only. A check gives the id, the
-- generation and what was found of each row that breaks it, at most :limit of them.

-- name: audit_page
-- The rows after :after, to look at a few at a time.
SELECT seq FROM invocation WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: audit_row
-- One row, unless its state is none; `audit_states` tells of that.
SELECT * FROM record WHERE seq = :seq AND state IN (
    'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
    'completed', 'failed', 'cancelled', 'terminated'
);

-- name: audit_children
-- The rows that name this one as their parent.
SELECT child.invocation_id, child.generation
FROM invocation AS parent INNER JOIN invocation AS child
    ON child.parent_id = parent.invocation_id AND child.parent_generation = parent.generation
WHERE parent.seq = :seq;

-- name: audit_slots
-- Live leases by queue, key and owner.
SELECT app, queue, limit_key, owner, count(*) FROM invocation
WHERE state = 'running' AND lease_until > :now GROUP BY app, queue, limit_key, owner;

-- name: audit_states
-- Rows in no known state: no statement would ever see them.
SELECT invocation_id, generation, 'state ' || state FROM invocation
WHERE state NOT IN (
    'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
    'completed', 'failed', 'cancelled', 'terminated'
) LIMIT :limit;

-- name: audit_leases
-- Lease fields that do not fit the state.
SELECT
    invocation_id, generation,
    'state ' || state || ', owner ''' || owner || ''', epoch ' || epoch
    || ', lease until ' || coalesce(lease_until, 'never')
    || ', wakes at ' || coalesce(wake_at, 'no time')
FROM invocation
WHERE (state = 'running') <> (lease_until IS NOT NULL)
    OR (state = 'running') <> (owner <> '')
    OR (state = 'running' AND epoch < 1)
    OR (wake_at IS NOT NULL AND state NOT IN ('ready', 'waiting'))
LIMIT :limit;

-- name: audit_outcomes
-- Ended rows without an outcome, and live ones with one.
SELECT
    invocation_id, generation,
    'state ' || state || ', outcome of ' || coalesce(length(outcome), 'no')
    || ' bytes, finished at ' || coalesce(finished_at, 'no time')
FROM invocation
WHERE (outcome IS NOT NULL) <> (state IN ('completed', 'failed', 'cancelled', 'terminated'))
    OR (finished_at IS NOT NULL) <> (state IN ('completed', 'failed', 'cancelled', 'terminated'))
LIMIT :limit;

-- name: audit_generations
-- Ids whose generations have holes or doubles.
SELECT
    invocation_id, max(generation),
    count(*) || ' rows, generations ' || min(generation) || ' to ' || max(generation)
FROM invocation GROUP BY invocation_id
HAVING count(*) <> max(generation) OR count(DISTINCT generation) <> count(*) OR min(generation) <> 1
LIMIT :limit;

-- name: audit_superseded
-- Rows that have a newer generation and did not end in a way that allows one.
SELECT old.invocation_id, old.generation, 'state ' || old.state || ' and a newer generation'
FROM invocation AS newer INNER JOIN invocation AS old
    ON old.invocation_id = newer.invocation_id AND old.generation = newer.generation - 1
WHERE newer.generation > 1 AND old.state NOT IN ('failed', 'cancelled', 'terminated')
LIMIT :limit;

-- name: audit_orphans
-- Rows whose parent or root is not there. With several servers it may be on another one.
SELECT
    child.invocation_id, child.generation,
    'parent ' || coalesce(child.parent_id, 'none') || ', root ' || child.root_id
    || ', one is missing'
FROM invocation AS child
WHERE NOT EXISTS (SELECT 1 FROM server_list) AND (NOT EXISTS (
    SELECT 1 FROM invocation AS root
    WHERE root.invocation_id = child.root_id AND root.generation = child.root_generation
) OR (child.parent_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM invocation AS parent
    WHERE parent.invocation_id = child.parent_id AND parent.generation = child.parent_generation
))) LIMIT :limit;

-- name: audit_halves
-- Invocations without a call, and calls without an invocation.
SELECT invocation_id, generation, 'no arguments' FROM invocation
WHERE seq NOT IN (SELECT seq FROM call)
UNION ALL
SELECT '', 0, 'arguments with number ' || seq || ' and no invocation' FROM call
WHERE seq NOT IN (SELECT seq FROM invocation)
LIMIT :limit;

-- name: audit_entries
-- Journals that belong to no invocation.
SELECT '', 0, count(*) || ' entries with number ' || seq || ' and no invocation' FROM entry
WHERE seq NOT IN (SELECT seq FROM invocation) GROUP BY seq LIMIT :limit;

-- name: audit_reasons
-- Stopped rows that do not say why.
SELECT invocation_id, generation, 'state ' || state || ' and no reason' FROM invocation
WHERE state IN ('parked', 'dead') AND reason = '' LIMIT :limit;

-- name: audit_waits
-- Waiting workflows that nothing can wake. Tasks wait for whoever completes them from outside.
SELECT invocation_id, generation, 'waiting for nothing' FROM invocation
WHERE state = 'waiting' AND wake_at IS NULL AND kind = 'workflow'
    AND seq NOT IN (SELECT watcher FROM watch)
    AND seq NOT IN (SELECT watcher FROM foreign_watch)
    AND NOT EXISTS (
        SELECT 1 FROM entry
        WHERE id BETWEEN invocation.seq << 32 AND (invocation.seq << 32) + 4294967295
            AND entry.kind = 'receive'
    )
LIMIT :limit;

-- name: audit_unread
-- Waiting rows with something unread: a wake-up was lost.
SELECT invocation_id, generation, 'waiting with something unread' FROM invocation
WHERE state = 'waiting' AND seq IN (SELECT seq FROM inbox) LIMIT :limit;

-- name: audit_inbox
-- Messages that nobody will read.
SELECT
    coalesce(invocation_id, ''), coalesce(generation, 0),
    'message ' || row_id || ' from ' || source_id || ' to state ' || coalesce(state, 'none')
FROM inbox LEFT JOIN invocation USING (seq)
WHERE state IS NULL OR state IN ('completed', 'failed', 'cancelled', 'terminated')
LIMIT :limit;

-- name: audit_watches
-- Watches of what has ended or is not there, and watches that belong to nobody.
SELECT
    coalesce(target.invocation_id, ''), coalesce(target.generation, 0),
    'watch ' || watch_id || ' of state ' || coalesce(target.state, 'none')
    || ' by ' || coalesce(watcher.invocation_id, 'nobody')
FROM watch
LEFT JOIN invocation AS target ON target.seq = watch.target
LEFT JOIN invocation AS watcher ON watcher.seq = watch.watcher
WHERE watcher.seq IS NULL OR target.seq IS NULL
    OR target.state IN ('completed', 'failed', 'cancelled', 'terminated')
UNION ALL
SELECT target_id, target_generation, 'watch ' || watch_id || ' of another server by nobody'
FROM foreign_watch
WHERE NOT EXISTS (SELECT 1 FROM invocation WHERE seq = watcher)
UNION ALL
SELECT
    target_id, target_generation,
    'watch ' || watcher_id || ' by server ' || server || ', which is not told of the end'
FROM foreign_watcher
WHERE ended = 0 AND NOT EXISTS (
    SELECT 1 FROM invocation
    WHERE invocation_id = target_id AND generation = target_generation
        AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
)
LIMIT :limit;
