-- min_reader: 1
-- min_writer: 1
-- The first schema. Times are microseconds since 1970 UTC, durations are microseconds.
--
-- One invocation is one narrow hot row in `invocation` (state, lease, head), written at every
-- commit, and one wide cold row in `call` (what was asked), written once. Ids and names are
-- compared byte by byte (COLLATE "C"), as everywhere else.

CREATE TABLE perdure.meta (
    one integer PRIMARY KEY CHECK (one = 1),
    product text NOT NULL CHECK (product = 'perdure'),
    schema_version integer NOT NULL,
    min_reader integer NOT NULL,
    min_writer integer NOT NULL,
    store_id bytea NOT NULL CHECK (length(store_id) = 16)
);

-- The one clock of the store. Tests give their own for the length of a transaction.
CREATE FUNCTION perdure.now() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(
        nullif(current_setting('perdure.now', true), '')::bigint,
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    )
$$;

CREATE SEQUENCE perdure.invocation_seq;

-- `due_at` says when the row is or was claimable: one column, so that delayed starts, timers and
-- expired leases are one range of one index. NULL means that time alone never makes it claimable.
-- `timed` is 0 for a row that is ready whatever the clock says, also after the clock stepped back.
CREATE TABLE perdure.invocation (
    seq bigint PRIMARY KEY,
    invocation_id text COLLATE "C" NOT NULL CHECK (length(invocation_id) BETWEEN 1 AND 255),
    generation integer NOT NULL CHECK (generation >= 1),
    app text COLLATE "C" NOT NULL CHECK (length(app) BETWEEN 1 AND 255),
    kind text NOT NULL CHECK (kind IN ('workflow', 'task')),
    name text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    parent_id text COLLATE "C",
    parent_generation integer CHECK ((parent_id IS NULL) = (parent_generation IS NULL)),
    root_id text COLLATE "C" NOT NULL,
    root_generation integer NOT NULL,
    queue text COLLATE "C" NOT NULL,
    limit_key text COLLATE "C" NOT NULL,
    priority bigint NOT NULL,
    state text NOT NULL CHECK (
        state IN (
            'ready', 'running', 'waiting', 'paused', 'parked', 'dead',
            'completed', 'failed', 'cancelled', 'terminated'
        )
    ),
    epoch bigint NOT NULL CHECK (epoch >= 0),
    owner text NOT NULL CHECK (owner = '' OR state = 'running'),
    lease_until bigint CHECK ((lease_until IS NOT NULL) = (state = 'running')),
    wake_at bigint CHECK (wake_at IS NULL OR state IN ('ready', 'waiting')),
    ready_since bigint NOT NULL,
    head bigint NOT NULL CHECK (head >= 0),
    head_hash bytea NOT NULL,
    last_token bytea NOT NULL,
    attempts bigint NOT NULL CHECK (attempts >= 0),
    crashes bigint NOT NULL CHECK (crashes >= 0),
    base_time bigint,
    created_at bigint NOT NULL,
    finished_at bigint,
    due_at bigint GENERATED ALWAYS AS (
        CASE state
            WHEN 'ready' THEN coalesce(wake_at, ready_since)
            WHEN 'waiting' THEN wake_at
            WHEN 'running' THEN lease_until
        END
    ) STORED,
    timed smallint GENERATED ALWAYS AS (
        CASE WHEN state <> 'ready' OR wake_at IS NOT NULL THEN 1 ELSE 0 END
    ) STORED,
    reason text NOT NULL CHECK (reason = '' OR state IN ('parked', 'dead')),
    outcome bytea,
    UNIQUE (invocation_id, generation),
    CHECK ((outcome IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled', 'terminated'))),
    CHECK ((outcome IS NOT NULL) = (finished_at IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Claims walk these in order and stop at the limit; finished rows and rows that wait for others
-- are not in them. `seq` orders rows that are equally due.
CREATE INDEX invocation_due
    ON perdure.invocation (app, queue, priority DESC, timed, due_at, seq)
    WHERE due_at IS NOT NULL;
CREATE INDEX invocation_due_in_tree
    ON perdure.invocation (root_id, root_generation, priority DESC, due_at, seq)
    WHERE due_at IS NOT NULL;
CREATE INDEX invocation_running ON perdure.invocation (owner) WHERE state = 'running';
CREATE INDEX invocation_running_in_queue ON perdure.invocation (app, queue, limit_key)
    WHERE state = 'running';
CREATE INDEX invocation_age ON perdure.invocation (app, created_at, invocation_id, generation);
CREATE INDEX invocation_parent ON perdure.invocation (parent_id, parent_generation)
    WHERE parent_id IS NOT NULL;

CREATE TABLE perdure.call (
    seq bigint PRIMARY KEY,
    arguments bytea NOT NULL,
    fingerprint bytea NOT NULL,
    call_id text COLLATE "C" NOT NULL,
    workflow_id text COLLATE "C",
    workflow_generation integer CHECK ((workflow_id IS NULL) = (workflow_generation IS NULL)),
    options bytea NOT NULL,
    code_version text NOT NULL,
    seed bytea NOT NULL,
    draw_algorithm integer NOT NULL,
    segment integer NOT NULL
);

CREATE TABLE perdure.entry (
    seq bigint NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    kind text NOT NULL,
    scope text NOT NULL,
    ordinal bigint NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL,
    body bytea NOT NULL,
    meta bytea NOT NULL,
    at bigint NOT NULL,
    epoch bigint NOT NULL,
    token bytea NOT NULL,
    checksum bytea NOT NULL,
    codec text NOT NULL,
    key_id text NOT NULL,
    PRIMARY KEY (seq, position)
);

CREATE TABLE perdure.inbox (
    row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint NOT NULL,
    kind text NOT NULL,
    source_id text COLLATE "C" NOT NULL,
    source_generation integer NOT NULL
);
CREATE INDEX inbox_unread ON perdure.inbox (seq, row_id);

-- `target` and `watcher` are `invocation.seq`. A row goes when the target ends.
CREATE TABLE perdure.watch (
    watch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target bigint NOT NULL,
    watcher bigint NOT NULL
);
CREATE INDEX watch_target ON perdure.watch (target, watch_id);

CREATE TABLE perdure.workflow_data (
    seq bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (seq, name)
);

CREATE TABLE perdure.register (
    app text COLLATE "C" NOT NULL CHECK (length(app) BETWEEN 1 AND 255),
    workflow_type text COLLATE "C" NOT NULL CHECK (length(workflow_type) BETWEEN 1 AND 255),
    workflow_id text COLLATE "C" NOT NULL CHECK (length(workflow_id) BETWEEN 1 AND 255),
    key text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (app, workflow_type, workflow_id, key)
);

-- When something of a queue with a rate was claimed. A log whose rows age out, and not a counter,
-- which a crash could leave too high.
CREATE TABLE perdure.claim_log (
    app text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    at bigint NOT NULL
);
CREATE INDEX claim_log_age ON perdure.claim_log (app, queue, at);

-- The columns in the order of `InvocationRecord`.
CREATE VIEW perdure.record AS
SELECT
    invocation_id, generation, app, kind, name, arguments, fingerprint, call_id,
    parent_id, parent_generation, root_id, root_generation, workflow_id, workflow_generation,
    queue, limit_key, priority, options, code_version, seed, draw_algorithm, segment,
    state, epoch, owner, lease_until, wake_at, head, head_hash, last_token, attempts, crashes,
    base_time, created_at, finished_at, outcome, reason, seq
FROM perdure.invocation INNER JOIN perdure.call USING (seq);

-- For autoscalers and dashboards: how much of a queue is ready or running now.
CREATE FUNCTION perdure.queue_depth(app_name text, queue_name text) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM perdure.invocation
    WHERE app = app_name AND queue = queue_name AND due_at IS NOT NULL
        AND (state = 'running' OR timed = 0 OR due_at <= perdure.now())
$$;

-- Belts. The statements never try any of this; a tool or a bug might.
CREATE FUNCTION perdure.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'perdure: %', tg_argv[0];
END
$$;

CREATE TRIGGER invocation_terminal_is_final BEFORE UPDATE ON perdure.invocation
FOR EACH ROW WHEN (old.state IN ('completed', 'failed', 'cancelled', 'terminated'))
EXECUTE FUNCTION perdure.refuse('a terminal invocation never changes');

CREATE TRIGGER invocation_is_kept BEFORE DELETE ON perdure.invocation
FOR EACH ROW EXECUTE FUNCTION perdure.refuse('an invocation is never deleted');

CREATE TRIGGER call_is_immutable BEFORE UPDATE ON perdure.call
FOR EACH ROW EXECUTE FUNCTION perdure.refuse('a call never changes');

CREATE TRIGGER call_is_kept BEFORE DELETE ON perdure.call
FOR EACH ROW EXECUTE FUNCTION perdure.refuse('a call is never deleted');

CREATE TRIGGER entry_is_immutable BEFORE UPDATE ON perdure.entry
FOR EACH ROW EXECUTE FUNCTION perdure.refuse('a journal entry never changes');

CREATE TRIGGER entry_is_kept BEFORE DELETE ON perdure.entry
FOR EACH ROW EXECUTE FUNCTION perdure.refuse('a journal entry is never deleted');
