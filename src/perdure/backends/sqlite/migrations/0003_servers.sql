-- min_reader: 2
-- min_writer: 3
-- This database as one of several servers. A program that does not know of lists must not write:
-- it would start things under an old one.

-- The newest list of servers that was published here; no row for an app with one URL.
CREATE TABLE server_list (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL CHECK (position >= 1),
    stores BLOB NOT NULL CHECK (length(stores) % 16 = 0),
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;

-- The target lives on the server at position `server`; `watcher` is `invocation.seq` here. `asked` is set once the
-- other server knows of it.
CREATE TABLE foreign_watch (
    watch_id INTEGER PRIMARY KEY AUTOINCREMENT,
    target_id TEXT NOT NULL,
    target_generation INTEGER NOT NULL,
    server INTEGER NOT NULL CHECK (server >= 1),
    watcher INTEGER NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0 CHECK (asked IN (0, 1))
) STRICT;
CREATE INDEX foreign_watch_target ON foreign_watch (target_id, target_generation, watch_id);
CREATE INDEX foreign_watch_unasked ON foreign_watch (watch_id) WHERE asked = 0;

-- The target lives here; `server` is the position of the one that waits for its end. The row goes
-- when that server was told.
CREATE TABLE foreign_watcher (
    watcher_id INTEGER PRIMARY KEY AUTOINCREMENT,
    target_id TEXT NOT NULL,
    target_generation INTEGER NOT NULL,
    server INTEGER NOT NULL CHECK (server >= 1),
    ended INTEGER NOT NULL CHECK (ended IN (0, 1))
) STRICT;
CREATE INDEX foreign_watcher_target ON foreign_watcher (target_id, target_generation);
CREATE INDEX foreign_watcher_ended ON foreign_watcher (watcher_id) WHERE ended = 1;
