-- Letters: what comes for a workflow from outside.

-- name: receiver
-- Whom a letter is for, if it is there.
SELECT seq, state FROM invocation WHERE invocation_id = :id AND generation = :generation;

-- name: was_accepted
-- Whether a letter of this id was accepted before.
SELECT 1 FROM letter WHERE seq = ? AND letter_id = ?;

-- name: accept
-- Remember the id of a letter for as long as its receiver is there.
INSERT INTO letter (seq, letter_id) VALUES (?, ?);

-- name: post
-- The letter itself, until it is delivered.
INSERT INTO inbox (seq, kind, source_id, source_generation, name, letter_id, body)
VALUES (?, ?, '', 0, ?, ?, ?);
