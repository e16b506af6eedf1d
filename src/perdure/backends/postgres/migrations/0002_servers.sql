-- min_reader: 1
-- min_writer: 2
-- This database as one of several servers. A program that does not know of lists must not write:
-- it would start things under an old one.

-- The newest list of servers that was published here; no row for an app with one URL.
CREATE TABLE perdure.server_list (
    one integer PRIMARY KEY CHECK (one = 1),
    position integer NOT NULL CHECK (position >= 1),
    stores bytea NOT NULL CHECK (length(stores) % 16 = 0),
    complete boolean NOT NULL
);

-- The target lives on the server at position `server`; `watcher` is `invocation.seq` here. `asked` is set once the
-- other server knows of it.
CREATE TABLE perdure.foreign_watch (
    watch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_id text COLLATE "C" NOT NULL,
    target_generation integer NOT NULL,
    server integer NOT NULL CHECK (server >= 1),
    watcher bigint NOT NULL,
    asked boolean NOT NULL DEFAULT FALSE
);
CREATE INDEX foreign_watch_target
    ON perdure.foreign_watch (target_id, target_generation, watch_id);
CREATE INDEX foreign_watch_unasked ON perdure.foreign_watch (watch_id) WHERE NOT asked;

-- The target lives here; `server` is the position of the one that waits for its end. The row goes
-- when that server was told.
CREATE TABLE perdure.foreign_watcher (
    watcher_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_id text COLLATE "C" NOT NULL,
    target_generation integer NOT NULL,
    server integer NOT NULL CHECK (server >= 1),
    ended boolean NOT NULL
);
CREATE INDEX foreign_watcher_target
    ON perdure.foreign_watcher (target_id, target_generation);
CREATE INDEX foreign_watcher_ended ON perdure.foreign_watcher (watcher_id) WHERE ended;
