-- name: make_outcomes
-- Outcomes of attempts. Times are seconds since 1970 by this database's clock.
CREATE TABLE IF NOT EXISTS perdure_outcomes (
    task_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    store TEXT NOT NULL,
    task TEXT NOT NULL,
    invocation_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    workflow_id TEXT,
    workflow_generation INTEGER,
    kind TEXT NOT NULL,
    body BYTEA NOT NULL,
    kept_at BIGINT NOT NULL DEFAULT (CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)),
    PRIMARY KEY (task_key, attempt)
);

-- name: make_outcomes_index
-- For the clean-up.
CREATE INDEX IF NOT EXISTS perdure_outcomes_owner ON perdure_outcomes (store, invocation_id);

-- name: make_outbox
-- Starts and messages of transactions, until they are carried. `reason`: why one was set aside.
CREATE TABLE IF NOT EXISTS perdure_outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store TEXT NOT NULL,
    app TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    body BYTEA NOT NULL,
    reason TEXT,
    posted_at BIGINT NOT NULL DEFAULT (CAST(extract(epoch FROM clock_timestamp()) AS BIGINT))
);

-- name: make_outbox_index
-- For the relay.
CREATE INDEX IF NOT EXISTS perdure_outbox_order ON perdure_outbox (store, app, id);

-- name: is_made
-- Whether everything is there, so that nothing need be made.
SELECT to_regclass('perdure_outbox_order') IS NOT NULL;

-- name: queue_up
-- Of several processes that make the tables one goes first: IF NOT EXISTS alone is no lock.
SELECT pg_advisory_xact_lock(8101923447301);

-- name: now
-- Seconds since 1970 by this database's clock.
SELECT CAST(extract(epoch FROM clock_timestamp()) AS BIGINT);
