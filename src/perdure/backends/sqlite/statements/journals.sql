-- Journals, inboxes, workflow data, and the register of standalone values.

-- name: read_journal
-- The entries of one journal from a position on, in order.
SELECT
    entry.position, entry.kind, entry.scope, entry.ordinal, entry.key, entry.name, entry.digest,
    entry.body, entry.meta, entry.at, entry.epoch, entry.token, entry.checksum, entry.codec,
    entry.key_id
FROM invocation INNER JOIN entry
    ON entry.id BETWEEN (invocation.seq << 32) + :start AND (invocation.seq << 32) + 4294967295
WHERE invocation_id = :id AND generation = :generation
ORDER BY entry.id;

-- name: read_inbox
-- Unread rows of one workflow, oldest first.
SELECT row_id, inbox.kind, source_id, source_generation, inbox.name, letter_id, body
FROM invocation INNER JOIN inbox USING (seq)
WHERE invocation_id = :id AND generation = :generation
ORDER BY row_id;

-- name: read_data
-- The data of one workflow.
SELECT workflow_data.name, value
FROM invocation INNER JOIN workflow_data USING (seq)
WHERE invocation_id = :id AND generation = :generation;

-- name: register_get
-- One stored value of a standalone identity.
SELECT body FROM register
WHERE app = ? AND workflow_type = ? AND workflow_id = ? AND key = ?;

-- name: register_put
-- The value, if there is none. One changed row means that this one won.
INSERT INTO register (app, workflow_type, workflow_id, key, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: register_raise
-- The counter, already found to be lower or absent.
INSERT INTO register (app, workflow_type, workflow_id, key, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET body = excluded.body;
