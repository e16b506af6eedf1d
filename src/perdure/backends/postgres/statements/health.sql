-- What opening and `health` look at. Reads only; each problem list is cut at a limit.

-- name: server
-- The server behind a connection: version, whether it takes writes, and what it calls itself.
SELECT
    current_setting('server_version_num')::int, current_setting('server_version'),
    current_setting('default_transaction_read_only') = 'on', version();

-- name: server_settings
-- Settings that decide whether an acknowledged commit survives a crash of the server.
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'max_connections') ORDER BY name;

-- name: found
-- Whether there is a schema of this name, and our table in it. Read from the tables themselves:
-- what the session remembers of names may be older than a lock it has just waited for.
SELECT
    EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'perdure'),
    EXISTS (
        SELECT 1 FROM pg_class INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'perdure' AND relname = 'meta'
    );

-- name: meta
-- The version handshake.
SELECT schema_version, min_reader, min_writer FROM perdure.meta;

-- name: sizes
-- Bytes of the database and of our tables, with their indexes.
SELECT
    pg_database_size(current_database()),
    (
        SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
        WHERE relnamespace = 'perdure'::regnamespace AND relkind = 'r'
    )::bigint;

-- name: counts
-- How many invocations are in which state.
SELECT state, count(*) FROM perdure.invocation GROUP BY state ORDER BY state;

-- name: stopped
-- Invocations that only a person can set going again.
SELECT invocation_id, generation, state, reason FROM perdure.invocation
WHERE state IN ('parked', 'dead') ORDER BY seq LIMIT %(limit)s;

-- name: overdue
-- Running rows whose lease ended before a time and which nobody took: no worker is there.
SELECT invocation_id, generation, owner, lease_until FROM perdure.invocation
WHERE state = 'running' AND lease_until < %(before)s ORDER BY seq LIMIT %(limit)s;

-- name: orphan_children
-- Rows whose parent is not there. A child and its parent's entry are one transaction.
-- With several servers the parent may be on another one.
SELECT child.invocation_id, child.generation, child.parent_id FROM perdure.invocation AS child
WHERE child.parent_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM perdure.server_list)
    AND NOT EXISTS (
    SELECT 1 FROM perdure.invocation AS parent
    WHERE parent.invocation_id = child.parent_id AND parent.generation = child.parent_generation
) ORDER BY child.seq LIMIT %(limit)s;

-- name: entries_without_row
-- Journal entries that belong to no invocation.
SELECT DISTINCT seq FROM perdure.entry
WHERE NOT EXISTS (SELECT 1 FROM perdure.invocation WHERE invocation.seq = entry.seq)
ORDER BY seq LIMIT %(limit)s;

-- name: rows_without_call
-- Invocations whose arguments are missing, and arguments without an invocation.
SELECT coalesce(invocation.seq, call.seq)
FROM perdure.invocation FULL JOIN perdure.call ON call.seq = invocation.seq
WHERE invocation.seq IS NULL OR call.seq IS NULL LIMIT %(limit)s;

-- name: lost_wake_ups
-- Waiting rows with something unread: a wake-up was lost.
SELECT invocation_id, generation FROM perdure.invocation
WHERE state = 'waiting'
    AND EXISTS (SELECT 1 FROM perdure.inbox WHERE inbox.seq = invocation.seq)
ORDER BY seq LIMIT %(limit)s;

-- name: journals
-- Some journals, to check a few at a time.
SELECT seq, invocation_id, generation FROM perdure.invocation
WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s;

-- name: journal_head
-- What the row says of its journal.
SELECT seed, head, head_hash
FROM perdure.invocation INNER JOIN perdure.call USING (seq) WHERE seq = %(seq)s;

-- name: journal_entries
-- The entries of one journal, to be read one after the other.
SELECT
    position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum,
    codec, key_id
FROM perdure.entry WHERE seq = %(seq)s ORDER BY position;
