-- min_reader: 1
-- min_writer: 1
-- The first schema. Times are microseconds since 1970 UTC, durations are microseconds.
--
-- One invocation is one narrow hot row in `invocation` (state, lease, head), written at every
-- commit, and one wide cold row in `call` (what was asked), written once. Large arguments would
-- otherwise be copied into the write-ahead log at every step.

CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    schema_version INTEGER NOT NULL,
    min_reader INTEGER NOT NULL,
    min_writer INTEGER NOT NULL,
    store_id BLOB NOT NULL CHECK (length(store_id) = 16)
) STRICT;

-- `due_at` says when the row is or was claimable: one column, so that delayed starts, timers and
-- expired leases are one range of one index. NULL means that time alone never makes it claimable.
-- `timed` is 0 for a row that is ready whatever the clock says, also after the clock stepped back.
CREATE TABLE invocation (
    seq INTEGER PRIMARY KEY,
    invocation_id TEXT NOT NULL CHECK (length(invocation_id) BETWEEN 1 AND 255),
    generation INTEGER NOT NULL CHECK (generation >= 1),
    app TEXT NOT NULL CHECK (length(app) BETWEEN 1 AND 255),
    kind TEXT NOT NULL CHECK (kind IN ('workflow', 'task')),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    parent_id TEXT,
    parent_generation INTEGER CHECK ((parent_id IS NULL) = (parent_generation IS NULL)),
    root_id TEXT NOT NULL,
    root_generation INTEGER NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN (
            'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
            'completed', 'failed', 'cancelled', 'terminated'
        )
    ),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    owner TEXT NOT NULL CHECK (owner = '' OR state = 'running'),
    lease_until INTEGER CHECK ((lease_until IS NOT NULL) = (state = 'running')),
    wake_at INTEGER CHECK (wake_at IS NULL OR state IN ('ready', 'waiting')),
    ready_since INTEGER NOT NULL,
    head INTEGER NOT NULL CHECK (head >= 0),
    head_hash BLOB NOT NULL,
    last_token BLOB NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    crashes INTEGER NOT NULL CHECK (crashes >= 0),
    base_time INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    due_at INTEGER AS (
        CASE state
            WHEN 'ready' THEN coalesce(wake_at, ready_since)
            WHEN 'waiting' THEN wake_at
            WHEN 'running' THEN lease_until
        END
    ) VIRTUAL,
    timed INTEGER AS (state <> 'ready' OR wake_at IS NOT NULL) VIRTUAL,
    reason TEXT NOT NULL CHECK (reason = '' OR state IN ('parked', 'dead')),
    outcome BLOB,
    UNIQUE (invocation_id, generation),
    CHECK (
        (outcome IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled', 'terminated'))
    ),
    CHECK ((outcome IS NOT NULL) = (finished_at IS NOT NULL))
) STRICT;

-- Claims walk these in order and stop at the limit; finished rows and rows that wait for others
-- are not in them. `seq` orders rows that are equally due, `name` saves the look at the row.
CREATE INDEX invocation_due ON invocation (app, priority DESC, timed, due_at, seq, name)
    WHERE due_at IS NOT NULL;
CREATE INDEX invocation_due_in_tree
    ON invocation (root_id, root_generation, priority DESC, timed, due_at, seq, name)
    WHERE due_at IS NOT NULL;
CREATE INDEX invocation_running ON invocation (owner) WHERE state = 'running';
CREATE INDEX invocation_age ON invocation (app, created_at, invocation_id, generation);
CREATE INDEX invocation_parent ON invocation (parent_id, parent_generation)
    WHERE parent_id IS NOT NULL;

CREATE TABLE call (
    seq INTEGER PRIMARY KEY,
    arguments BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    call_id TEXT NOT NULL,
    workflow_id TEXT,
    workflow_generation INTEGER CHECK ((workflow_id IS NULL) = (workflow_generation IS NULL)),
    options BLOB NOT NULL,
    code_version TEXT NOT NULL,
    seed BLOB NOT NULL,
    draw_algorithm INTEGER NOT NULL,
    segment INTEGER NOT NULL
) STRICT;

-- `id` is `seq` times 2**32 plus the position: one integer key keeps each journal together and in
-- order, and an append at its end is the cheapest write that SQLite has.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    seq INTEGER AS (id >> 32) VIRTUAL,
    position INTEGER AS (id & 4294967295) VIRTUAL,
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    meta BLOB NOT NULL,
    at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    token BLOB NOT NULL,
    checksum BLOB NOT NULL,
    codec TEXT NOT NULL,
    key_id TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: a row_id is never used again, so a reader that saw one cannot mistake another.
CREATE TABLE inbox (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_generation INTEGER NOT NULL
) STRICT;
CREATE INDEX inbox_unread ON inbox (seq, row_id);

-- `target` and `watcher` are `invocation.seq`. A row goes when the target ends.
CREATE TABLE watch (
    watch_id INTEGER PRIMARY KEY,
    target INTEGER NOT NULL,
    watcher INTEGER NOT NULL
) STRICT;
CREATE INDEX watch_target ON watch (target, watch_id);

CREATE TABLE workflow_data (
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (seq, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE register (
    app TEXT NOT NULL CHECK (length(app) BETWEEN 1 AND 255),
    workflow_type TEXT NOT NULL CHECK (length(workflow_type) BETWEEN 1 AND 255),
    workflow_id TEXT NOT NULL CHECK (length(workflow_id) BETWEEN 1 AND 255),
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (app, workflow_type, workflow_id, key)
) STRICT, WITHOUT ROWID;

-- The columns in the order of `InvocationRecord`.
CREATE VIEW record AS
SELECT
    invocation_id, generation, app, kind, name, arguments, fingerprint, call_id,
    parent_id, parent_generation, root_id, root_generation, workflow_id, workflow_generation,
    queue, priority, options, code_version, seed, draw_algorithm, segment,
    state, epoch, owner, lease_until, wake_at, head, head_hash, last_token, attempts, crashes,
    base_time, created_at, finished_at, outcome, reason, seq
FROM invocation INNER JOIN call USING (seq);

-- Belts. The statements never try any of this; a tool or a bug might. The first one leaves out the
-- head, which only `advance` moves and only while running: it would cost every commit a third more.
CREATE TRIGGER invocation_terminal_is_final
BEFORE UPDATE OF
    state, epoch, owner, lease_until, wake_at, attempts, base_time, finished_at, reason, outcome
ON invocation
WHEN old.state IN ('completed', 'failed', 'cancelled', 'terminated')
BEGIN
    SELECT raise(ABORT, 'perdure: a terminal invocation never changes');
END;

CREATE TRIGGER invocation_is_kept BEFORE DELETE ON invocation
BEGIN
    SELECT raise(ABORT, 'perdure: an invocation is never deleted');
END;

CREATE TRIGGER call_is_immutable BEFORE UPDATE ON call
BEGIN
    SELECT raise(ABORT, 'perdure: a call never changes');
END;

CREATE TRIGGER call_is_kept BEFORE DELETE ON call
BEGIN
    SELECT raise(ABORT, 'perdure: a call is never deleted');
END;

CREATE TRIGGER entry_is_immutable BEFORE UPDATE ON entry
BEGIN
    SELECT raise(ABORT, 'perdure: a journal entry never changes');
END;

CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry
BEGIN
    SELECT raise(ABORT, 'perdure: a journal entry is never deleted');
END;
