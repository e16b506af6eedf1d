-- Letters: what comes for a workflow from outside.

-- name: receiver
-- Whom a letter is for, locked, so that it does not begin to wait or end meanwhile.
SELECT seq, state FROM perdure.invocation
WHERE invocation_id = %(id)s AND generation = %(generation)s FOR UPDATE;

-- name: accept
-- Remember the id of a letter for as long as its receiver is there. No row if it was accepted.
INSERT INTO perdure.letter (seq, letter_id) VALUES (%s, %s) ON CONFLICT DO NOTHING;

-- name: was_accepted
-- Whether a letter of this id was accepted before.
SELECT 1 FROM perdure.letter WHERE seq = %s AND letter_id = %s;

-- name: post
-- The letter itself, until it is delivered.
INSERT INTO perdure.inbox (seq, kind, source_id, source_generation, name, letter_id, body)
VALUES (%s, %s, '', 0, %s, %s, %s);
