-- What surrounds a transaction.

-- name: limits
-- Bounds of what a session waits for, and which schema its program knows (see migration 9): for its
-- whole life, or for one transaction (local) where a pooler hands sessions around.
SELECT
    set_config('perdure.schema', %(schema)s, %(local)s),
    set_config('lock_timeout', %(lock_ms)s, %(local)s),
    set_config('statement_timeout', %(statement_ms)s, %(local)s),
    set_config('idle_in_transaction_session_timeout', %(idle_ms)s, %(local)s);

-- name: plans
-- How statements are planned, for a session or one transaction. Each of ours finds its rows by an
-- index. A session keeps its plans, and one that was made while a table was small would go on reading
-- all of it when it has grown; so plans are made once, and go from what is given through the keys.
SELECT
    set_config('plan_cache_mode', 'force_generic_plan', %(local)s),
    set_config('enable_seqscan', 'off', %(local)s),
    set_config('enable_hashjoin', 'off', %(local)s),
    set_config('enable_mergejoin', 'off', %(local)s),
    set_config('jit', 'off', %(local)s);

-- name: plan_as_found
-- For the rest of a transaction: plans for what the tables hold now, for those who look at all rows.
SELECT
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'on', true),
    set_config('enable_hashjoin', 'on', true),
    set_config('enable_mergejoin', 'on', true);

-- name: set_clock
-- The clock of a test, for one transaction.
SELECT set_config('perdure.now', %(now)s, true);

-- name: guard_migration
-- One migration at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock(%(space)s, 0);

-- name: hold_writers
-- Nobody writes from here on until the migration is over; what writes now is waited for. Then each
-- statement is checked against the new handshake (migration 9).
LOCK TABLE perdure.invocation, perdure.register IN EXCLUSIVE MODE;

-- name: make_schema
-- Where everything of ours lives.
CREATE SCHEMA perdure;

-- name: insert_meta
-- The handshake of a new database; without an id of the store the server makes one.
INSERT INTO perdure.meta (one, product, schema_version, min_reader, min_writer, store_id)
VALUES (1, 'perdure', %s, %s, %s, coalesce(%s::bytea, uuid_send(gen_random_uuid())));

-- name: update_meta
-- The handshake after a migration.
UPDATE perdure.meta SET schema_version = %s, min_reader = %s, min_writer = %s;

-- name: begin
-- A transaction; row locks and unique keys keep writers apart.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;

-- name: begin_reading
-- A transaction whose statements all see one commit.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: commit
-- Durable when it returns.
COMMIT;

-- name: rollback
-- Nothing of it happened.
ROLLBACK;

-- name: session
-- Which session of the server this is (a pooler told us another number when we connected), and
-- whether the server only follows another one.
SELECT pg_backend_pid(), pg_is_in_recovery();

-- name: listen
-- Hear hints, from the next commit on.
LISTEN perdure;

-- name: unlisten
-- Hear no more.
UNLISTEN *;

-- name: tell
-- Send a note to all who listen. It may be lost with the server, so its commit need not be durable.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('perdure', %(note)s);
