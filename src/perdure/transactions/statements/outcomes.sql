-- name: look_up
-- The outcome of one attempt, if its transaction is there.
SELECT kind, body FROM perdure_outcomes WHERE task_key = :task_key AND attempt = :attempt;

-- name: keep
-- Put the outcome of an attempt beside what its transaction wrote. No row: another one was first.
INSERT INTO perdure_outcomes
    (task_key, attempt, store, task, invocation_id, generation, workflow_id, workflow_generation,
     kind, body)
VALUES
    (:task_key, :attempt, :store, :task, :invocation_id, :generation, :workflow_id,
     :workflow_generation, :kind, :body)
ON CONFLICT DO NOTHING;

-- name: old_owners
-- A page of the invocations of one store that have outcomes which were kept before a moment.
SELECT DISTINCT invocation_id, generation, workflow_id, workflow_generation
FROM perdure_outcomes
WHERE store = :store AND kept_at < :before
    AND (invocation_id, generation) > (:after_id, :after_generation)
ORDER BY invocation_id, generation
LIMIT :count;

-- name: forget
-- Remove what one invocation has kept before a moment.
DELETE FROM perdure_outcomes
WHERE store = :store AND invocation_id = :invocation_id AND generation = :generation
    AND kept_at < :before;
