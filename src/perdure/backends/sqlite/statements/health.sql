-- What `health` looks at. Reads only; each problem list is cut at :limit.

-- name: meta
-- The version handshake.
SELECT schema_version, min_reader, min_writer FROM meta;

-- name: too_new
-- Says something if a program that knows no schema newer than :known must not write.
SELECT 1 FROM meta WHERE min_writer > :known;

-- name: counts
-- How many invocations are in which state.
SELECT state, count(*) FROM invocation GROUP BY state ORDER BY state;

-- name: stopped
-- Invocations that only a person can set going again.
SELECT invocation_id, generation, state, reason FROM invocation
WHERE state IN ('parked', 'dead') ORDER BY seq LIMIT :limit;

-- name: overdue
-- Running rows whose lease ended before :before and which nobody took: no worker is there.
SELECT invocation_id, generation, owner, lease_until FROM invocation
WHERE state = 'running' AND lease_until < :before ORDER BY seq LIMIT :limit;

-- name: orphan_children
-- Rows whose parent is not there. A child and its parent's entry are one transaction.
-- With several servers the parent may be on another one.
SELECT child.invocation_id, child.generation, child.parent_id FROM invocation AS child
WHERE child.parent_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM server_list)
    AND NOT EXISTS (
    SELECT 1 FROM invocation AS parent
    WHERE parent.invocation_id = child.parent_id AND parent.generation = child.parent_generation
) ORDER BY child.seq LIMIT :limit;

-- name: entries_without_row
-- Journal entries that belong to no invocation.
SELECT DISTINCT seq FROM entry
WHERE seq NOT IN (SELECT seq FROM invocation) ORDER BY seq LIMIT :limit;

-- name: rows_without_call
-- Invocations whose arguments are missing, and arguments without an invocation.
SELECT seq FROM invocation WHERE seq NOT IN (SELECT seq FROM call)
UNION ALL
SELECT seq FROM call WHERE seq NOT IN (SELECT seq FROM invocation)
LIMIT :limit;

-- name: lost_wake_ups
-- Waiting rows with something unread: a wake-up was lost.
SELECT invocation_id, generation FROM invocation
WHERE state = 'waiting' AND EXISTS (SELECT 1 FROM inbox WHERE inbox.seq = invocation.seq)
ORDER BY seq LIMIT :limit;

-- name: journals
-- The journals after :after, to check a few at a time.
SELECT invocation.seq, invocation_id, generation FROM invocation
WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: journal_head
-- What the row says of its journal.
SELECT seed, head, head_hash FROM invocation INNER JOIN call USING (seq) WHERE seq = :seq;

-- name: journal_entries
-- The entries of one journal, to be read one after the other.
SELECT
    position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum,
    codec, key_id
FROM entry WHERE id BETWEEN :seq << 32 AND (:seq << 32) + 4294967295 ORDER BY id;
