-- name: post
-- Put a start or a message beside the rows of the transaction that asks for it.
INSERT INTO perdure_outbox (store, app, kind, target, body)
VALUES (:store, :app, :kind, :target, :body);

-- name: pending
-- The oldest that were not carried, in the order in which each sender has posted them.
SELECT id, kind, target, body FROM perdure_outbox
WHERE store = :store AND app = :app AND reason IS NULL
ORDER BY id
LIMIT :count;

-- name: carried
-- It is where it belongs.
DELETE FROM perdure_outbox WHERE id = :id;

-- name: set_aside
-- It cannot be carried, and others need not wait for it.
UPDATE perdure_outbox SET reason = :reason WHERE id = :id;

-- name: aside
-- What was set aside, oldest first.
SELECT id, kind, target, reason FROM perdure_outbox
WHERE store = :store AND app = :app AND reason IS NOT NULL
ORDER BY id
LIMIT :count;

-- name: carry_again
-- Let one that was set aside be tried once more.
UPDATE perdure_outbox SET reason = NULL
WHERE store = :store AND app = :app AND id = :id AND reason IS NOT NULL;

-- name: discard
-- Give up one that was set aside.
DELETE FROM perdure_outbox
WHERE store = :store AND app = :app AND id = :id AND reason IS NOT NULL;
