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

-- name: is_made
-- Whether everything is there, so that nothing need be made.
SELECT to_regclass('perdure_outcomes_owner') IS NOT NULL;

-- name: queue_up
-- Of several processes that make the tables one goes first: IF NOT EXISTS alone is no lock.
SELECT pg_advisory_xact_lock(8101923447301);

-- name: now
-- Seconds since 1970 by this database's clock.
SELECT CAST(extract(epoch FROM clock_timestamp()) AS BIGINT);
