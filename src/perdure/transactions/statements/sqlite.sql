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
    body BLOB NOT NULL,
    kept_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
    PRIMARY KEY (task_key, attempt)
);

-- name: make_outcomes_index
-- For the clean-up.
CREATE INDEX IF NOT EXISTS perdure_outcomes_owner ON perdure_outcomes (store, invocation_id);

-- name: now
-- Seconds since 1970 by this database's clock.
SELECT CAST(strftime('%s', 'now') AS INTEGER);
