-- Journals, inboxes, workflow data, and the register of standalone values.

-- name: read_journal
-- The entries of one journal from a position on, in order.
SELECT
    position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum,
    codec, key_id
FROM perdure.entry
WHERE seq = (
    SELECT seq FROM perdure.invocation
    WHERE invocation_id = %(id)s AND generation = %(generation)s
)
AND position >= %(start)s
ORDER BY position;

-- name: read_inbox
-- Unread rows of one workflow, oldest first.
SELECT row_id, kind, source_id, source_generation, name, letter_id, body
FROM perdure.inbox
WHERE seq = (
    SELECT seq FROM perdure.invocation
    WHERE invocation_id = %(id)s AND generation = %(generation)s
)
ORDER BY row_id;

-- name: read_data
-- The data of one workflow.
SELECT name, value
FROM perdure.workflow_data
WHERE seq = (
    SELECT seq FROM perdure.invocation
    WHERE invocation_id = %(id)s AND generation = %(generation)s
);

-- name: register_get
-- One stored value of a standalone identity.
SELECT body FROM perdure.register
WHERE app = %s AND workflow_type = %s AND workflow_id = %s AND key = %s;

-- name: register_put
-- The value, if there is none. One changed row means that this one won.
INSERT INTO perdure.register (app, workflow_type, workflow_id, key, body)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING;

-- name: register_raise
-- The counter, if it is lower or absent.
INSERT INTO perdure.register (app, workflow_type, workflow_id, key, body)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (app, workflow_type, workflow_id, key) DO UPDATE SET body = excluded.body
WHERE convert_from(register.body, 'UTF8')::numeric < convert_from(excluded.body, 'UTF8')::numeric;
