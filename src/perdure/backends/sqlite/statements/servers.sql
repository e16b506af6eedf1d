-- This database as one of several servers.

-- name: server_list
-- The newest list that was published here.
SELECT position, stores, complete FROM server_list;

-- name: publish
-- Keep a list.
INSERT INTO server_list (one, position, stores, complete) VALUES (1, ?, ?, ?)
ON CONFLICT (one) DO UPDATE SET stores = excluded.stores, complete = excluded.complete;

-- name: has_rows
-- Whether anything was ever started or stored here.
SELECT EXISTS (SELECT 1 FROM invocation) OR EXISTS (SELECT 1 FROM register);

-- name: watch_foreign
-- A watcher of something on another server.
INSERT INTO foreign_watch (target_id, target_generation, server, watcher) VALUES (?, ?, ?, ?);

-- name: foreign_asks
-- Ends elsewhere that something here waits for, and that no other server was asked for yet.
SELECT watch_id, target_id, target_generation, server FROM foreign_watch
WHERE asked = 0 AND server IN (SELECT value FROM json_each(:servers))
ORDER BY watch_id LIMIT :limit;

-- name: foreign_ends
-- What has ended here and another server waits for.
SELECT watcher_id, target_id, target_generation, server FROM foreign_watcher
WHERE ended = 1 AND server IN (SELECT value FROM json_each(:servers))
ORDER BY watcher_id LIMIT :limit;

-- name: watched_from_elsewhere
-- A server waits for this end. It has come if there is no such row that could still end.
INSERT INTO foreign_watcher (target_id, target_generation, server, ended)
VALUES (:id, :generation, :server, NOT EXISTS (
    SELECT 1 FROM invocation
    WHERE invocation_id = :id AND generation = :generation
        AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
));

-- name: ended_for_others
-- The end that other servers wait for has come.
UPDATE foreign_watcher SET ended = 1 WHERE target_id = :id AND target_generation = :generation;

-- name: foreign_watchers
-- Whom these ends on other servers are told to, in the order they asked.
SELECT
    watch.watcher, watch.target_id, watch.target_generation, invocation.invocation_id,
    invocation.generation, invocation.state
FROM json_each(:targets) AS target
INNER JOIN foreign_watch AS watch
    ON watch.target_id = target.value ->> 0 AND watch.target_generation = target.value ->> 1
INNER JOIN invocation ON invocation.seq = watch.watcher
ORDER BY watch.watch_id;

-- name: unwatch_foreign
-- The watches of something on another server that ended.
DELETE FROM foreign_watch WHERE target_id = :id AND target_generation = :generation;

-- name: asked
-- Another server knows that this is waited for.
UPDATE foreign_watch SET asked = 1 WHERE watch_id = ?;

-- name: told
-- Another server knows of this end.
DELETE FROM foreign_watcher WHERE watcher_id = ?;
