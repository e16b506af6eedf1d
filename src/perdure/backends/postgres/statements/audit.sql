-- What the auditor looks at, on a store that may be in use. Reads only. A check gives the id, the
-- generation and what was found of each row that breaks it, at most as many as asked for.

-- name: audit_page
-- Some rows after a number, to look at a few at a time.
SELECT seq FROM perdure.invocation WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s;

-- name: audit_row
-- One row, unless its state is none; `audit_states` tells of that.
SELECT * FROM perdure.record WHERE seq = %(seq)s AND state IN (
    'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
    'completed', 'failed', 'cancelled', 'terminated'
);

-- name: audit_children
-- The rows that name this one as their parent.
SELECT child.invocation_id, child.generation
FROM perdure.invocation AS parent INNER JOIN perdure.invocation AS child
    ON child.parent_id = parent.invocation_id AND child.parent_generation = parent.generation
WHERE parent.seq = %(seq)s;

-- name: audit_slots
-- Live leases by queue, key and owner.
SELECT app, queue, limit_key, owner, count(*) FROM perdure.invocation
WHERE state = 'running' AND lease_until > %(now)s GROUP BY app, queue, limit_key, owner;

-- name: audit_states
-- Rows in no known state: no statement would ever see them.
SELECT invocation_id, generation, 'state ' || state FROM perdure.invocation
WHERE state NOT IN (
    'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
    'completed', 'failed', 'cancelled', 'terminated'
) LIMIT %(limit)s;

-- name: audit_leases
-- Lease fields that do not fit the state.
SELECT
    invocation_id, generation,
    'state ' || state || ', owner ''' || owner || ''', epoch ' || epoch
    || ', lease until ' || coalesce(lease_until::text, 'never')
    || ', wakes at ' || coalesce(wake_at::text, 'no time')
FROM perdure.invocation
WHERE (state = 'running') <> (lease_until IS NOT NULL)
    OR (state = 'running') <> (owner <> '')
    OR (state = 'running' AND epoch < 1)
    OR (wake_at IS NOT NULL AND state NOT IN ('ready', 'waiting'))
LIMIT %(limit)s;

-- name: audit_outcomes
-- Ended rows without an outcome, and live ones with one.
SELECT
    invocation_id, generation,
    'state ' || state || ', outcome of ' || coalesce(length(outcome)::text, 'no')
    || ' bytes, finished at ' || coalesce(finished_at::text, 'no time')
FROM perdure.invocation
WHERE (outcome IS NOT NULL) <> (state IN ('completed', 'failed', 'cancelled', 'terminated'))
    OR (finished_at IS NOT NULL) <> (state IN ('completed', 'failed', 'cancelled', 'terminated'))
LIMIT %(limit)s;

-- name: audit_generations
-- Ids whose generations have holes or doubles.
SELECT
    invocation_id, max(generation),
    count(*) || ' rows, generations ' || min(generation) || ' to ' || max(generation)
FROM perdure.invocation GROUP BY invocation_id
HAVING count(*) <> max(generation) OR count(DISTINCT generation) <> count(*) OR min(generation) <> 1
LIMIT %(limit)s;

-- name: audit_superseded
-- Rows that have a newer generation and did not end in a way that allows one.
SELECT old.invocation_id, old.generation, 'state ' || old.state || ' and a newer generation'
FROM perdure.invocation AS newer INNER JOIN perdure.invocation AS old
    ON old.invocation_id = newer.invocation_id AND old.generation = newer.generation - 1
WHERE newer.generation > 1 AND old.state NOT IN ('failed', 'cancelled', 'terminated')
LIMIT %(limit)s;

-- name: audit_orphans
-- Rows whose parent or root is not there. With several servers it may be on another one.
SELECT
    child.invocation_id, child.generation,
    'parent ' || coalesce(child.parent_id, 'none') || ', root ' || child.root_id
    || ', one is missing'
FROM perdure.invocation AS child
WHERE NOT EXISTS (SELECT 1 FROM perdure.server_list) AND (NOT EXISTS (
    SELECT 1 FROM perdure.invocation AS root
    WHERE root.invocation_id = child.root_id AND root.generation = child.root_generation
) OR (child.parent_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM perdure.invocation AS parent
    WHERE parent.invocation_id = child.parent_id AND parent.generation = child.parent_generation
))) LIMIT %(limit)s;

-- name: audit_halves
-- Invocations without a call, and calls without an invocation.
SELECT invocation_id, generation, 'no arguments' FROM perdure.invocation
WHERE NOT EXISTS (SELECT 1 FROM perdure.call WHERE call.seq = invocation.seq)
UNION ALL
SELECT '', 0, 'arguments with number ' || seq || ' and no invocation' FROM perdure.call
WHERE NOT EXISTS (SELECT 1 FROM perdure.invocation WHERE invocation.seq = call.seq)
LIMIT %(limit)s;

-- name: audit_entries
-- Journals that belong to no invocation.
SELECT '', 0, count(*) || ' entries with number ' || seq || ' and no invocation' FROM perdure.entry
WHERE NOT EXISTS (SELECT 1 FROM perdure.invocation WHERE invocation.seq = entry.seq)
GROUP BY seq LIMIT %(limit)s;

-- name: audit_reasons
-- Stopped rows that do not say why.
SELECT invocation_id, generation, 'state ' || state || ' and no reason' FROM perdure.invocation
WHERE state IN ('parked', 'dead') AND reason = '' LIMIT %(limit)s;

-- name: audit_waits
-- Waiting workflows that nothing can wake. Tasks wait for whoever completes them from outside.
SELECT invocation_id, generation, 'waiting for nothing' FROM perdure.invocation
WHERE state = 'waiting' AND wake_at IS NULL AND kind = 'workflow'
    AND NOT EXISTS (
        SELECT 1 FROM perdure.entry
        WHERE entry.seq = invocation.seq AND entry.kind = 'receive'
    )
    AND NOT EXISTS (SELECT 1 FROM perdure.watch WHERE watcher = invocation.seq)
    AND NOT EXISTS (SELECT 1 FROM perdure.foreign_watch WHERE watcher = invocation.seq)
LIMIT %(limit)s;

-- name: audit_unread
-- Waiting rows with something unread: a wake-up was lost.
SELECT invocation_id, generation, 'waiting with something unread' FROM perdure.invocation
WHERE state = 'waiting'
    AND EXISTS (SELECT 1 FROM perdure.inbox WHERE inbox.seq = invocation.seq) LIMIT %(limit)s;

-- name: audit_inbox
-- Messages that nobody will read.
SELECT
    coalesce(invocation_id, ''), coalesce(generation, 0),
    'message ' || row_id || ' from ' || source_id || ' to state ' || coalesce(state, 'none')
FROM perdure.inbox LEFT JOIN perdure.invocation USING (seq)
WHERE state IS NULL OR state IN ('completed', 'failed', 'cancelled', 'terminated')
LIMIT %(limit)s;

-- name: audit_watches
-- Watches of what has ended or is not there, and watches that belong to nobody.
SELECT
    coalesce(target.invocation_id, ''), coalesce(target.generation, 0),
    'watch ' || watch_id || ' of state ' || coalesce(target.state, 'none')
    || ' by ' || coalesce(watcher.invocation_id, 'nobody')
FROM perdure.watch
LEFT JOIN perdure.invocation AS target ON target.seq = watch.target
LEFT JOIN perdure.invocation AS watcher ON watcher.seq = watch.watcher
WHERE watcher.seq IS NULL OR target.seq IS NULL
    OR target.state IN ('completed', 'failed', 'cancelled', 'terminated')
UNION ALL
SELECT target_id, target_generation, 'watch ' || watch_id || ' of another server by nobody'
FROM perdure.foreign_watch
WHERE NOT EXISTS (SELECT 1 FROM perdure.invocation WHERE seq = watcher)
UNION ALL
SELECT
    target_id, target_generation,
    'watch ' || watcher_id || ' by server ' || server || ', which is not told of the end'
FROM perdure.foreign_watcher
WHERE NOT ended AND NOT EXISTS (
    SELECT 1 FROM perdure.invocation
    WHERE invocation_id = target_id AND generation = target_generation
        AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
)
LIMIT %(limit)s;
