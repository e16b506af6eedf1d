-- This database as one of several servers.

-- name: guard_start
-- Whatever begins something shares this lock until its end, so a list is published before or after
-- it. The statement that follows sees what was published before.
SELECT pg_advisory_xact_lock_shared(%(space)s, 1);

-- name: guard_publish
-- Wait for every start in flight and keep out new ones, until the end of the transaction.
SELECT pg_advisory_xact_lock(%(space)s, 1);

-- name: server_list
-- The newest list that was published here.
SELECT position, stores, complete FROM perdure.server_list;

-- name: publish
-- Keep a list.
INSERT INTO perdure.server_list (one, position, stores, complete) VALUES (1, %s, %s, %s)
ON CONFLICT (one) DO UPDATE SET stores = excluded.stores, complete = excluded.complete;

-- name: has_rows
-- Whether anything was ever started or stored here.
SELECT EXISTS (SELECT FROM perdure.invocation) OR EXISTS (SELECT FROM perdure.register);

-- name: watch_foreign
-- Watchers of rows on other servers.
INSERT INTO perdure.foreign_watch (target_id, target_generation, server, watcher)
SELECT target_id, target_generation, server, watcher
FROM unnest(%s::text[], %s::int[], %s::int[], %s::bigint[]) WITH ORDINALITY
    AS new (target_id, target_generation, server, watcher, place)
ORDER BY place;

-- name: foreign_asks
-- Ends elsewhere that something here waits for, and that no other server was asked for yet.
SELECT watch_id, target_id, target_generation, server FROM perdure.foreign_watch
WHERE NOT asked AND server = ANY(%(servers)s) ORDER BY watch_id LIMIT %(limit)s;

-- name: foreign_ends
-- What has ended here and another server waits for.
SELECT watcher_id, target_id, target_generation, server FROM perdure.foreign_watcher
WHERE ended AND server = ANY(%(servers)s) ORDER BY watcher_id LIMIT %(limit)s;

-- name: share_targets
-- Keep these from ending until the end of the transaction, in the order of seq.
SELECT seq FROM perdure.invocation INNER JOIN unnest(%(ids)s::text[], %(generations)s::int[])
    AS named (id, generation)
    ON invocation.invocation_id = named.id AND invocation.generation = named.generation
ORDER BY seq FOR SHARE OF invocation;

-- name: watched_from_elsewhere
-- A server waits for these ends. Where no locked row is left that could still end, the end has come.
INSERT INTO perdure.foreign_watcher (target_id, target_generation, server, ended)
SELECT id, named.generation, %(server)s, NOT EXISTS (
    SELECT 1 FROM perdure.invocation
    WHERE invocation_id = named.id AND invocation.generation = named.generation
        AND seq = ANY(%(seqs)s)
        AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
)
FROM unnest(%(ids)s::text[], %(generations)s::int[]) AS named (id, generation);

-- name: lock_foreign_watchers
-- Whom these ends on other servers are told to, locked in the order of seq.
SELECT seq, invocation_id, generation, state FROM perdure.invocation
WHERE seq IN (
    SELECT watcher FROM perdure.foreign_watch
        INNER JOIN unnest(%(ids)s::text[], %(generations)s::int[]) AS named (id, generation)
        ON target_id = named.id AND target_generation = named.generation
)
ORDER BY seq FOR UPDATE;

-- name: unwatch_foreign
-- The watches of the locked rows. A watch that came since is told when its own ask is answered.
WITH gone AS (
    DELETE FROM perdure.foreign_watch
    USING unnest(%(ids)s::text[], %(generations)s::int[]) AS named (id, generation)
    WHERE target_id = named.id AND target_generation = named.generation AND watcher = ANY(%(seqs)s)
    RETURNING watch_id, watcher, target_id, target_generation
)
SELECT watcher, target_id, target_generation FROM gone ORDER BY watch_id;

-- name: wake
-- Waiting rows that got something to read are ready.
UPDATE perdure.invocation SET state = 'ready', wake_at = NULL, ready_since = perdure.now()
WHERE seq = ANY(%(seqs)s) AND state = 'waiting';

-- name: asked
-- Another server knows that these are waited for.
UPDATE perdure.foreign_watch SET asked = TRUE WHERE watch_id = ANY(%(row_ids)s);

-- name: told
-- Another server knows of these ends.
DELETE FROM perdure.foreign_watcher WHERE watcher_id = ANY(%(row_ids)s);
