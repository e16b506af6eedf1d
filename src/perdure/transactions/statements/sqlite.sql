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

-- name: make_outbox
-- Starts and messages of transactions, until they are carried. `reason`: why one was set aside.
CREATE TABLE IF NOT EXISTS perdure_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    store TEXT NOT NULL,
    app TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT,
    posted_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
);

-- name: make_outbox_index
-- For the relay.
CREATE INDEX IF NOT EXISTS perdure_outbox_order ON perdure_outbox (store, app, id);

-- name: now
-- Seconds since 1970 by this database's clock.
SELECT CAST(strftime('%s', 'now') AS INTEGER);
