-- min_reader: 3
-- min_writer: 3
-- One live row is taken from whoever has it, and ended or stopped, in one call. Older programs take
-- it and settle it in two; they may go on.

-- As a transition of `perdure.commit` with a fate ('finish' or 'stop'), but for a row in any live
-- state, whose epoch is `epoch` and then one higher. It gives the state of the row afterwards, or
-- 'stale' if nothing was changed; with a `told_id`, who got something to read besides.
CREATE FUNCTION perdure.seize(
    id text, generation bigint, epoch bigint, token bytea, fate text, new_state text, outcome bytea,
    reason text
) RETURNS TABLE (verdict text, told_id text, told_generation bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    asked CONSTANT bigint := (
        SELECT seq FROM perdure.invocation
        WHERE invocation_id = seize.id AND invocation.generation = seize.generation
    );
    found_head bigint;
BEGIN
    -- Who watches it is locked with it, in the order of seq, as every batch of commits does.
    PERFORM FROM perdure.invocation
    WHERE seq = asked
        OR fate = 'finish' AND seq IN (SELECT watcher FROM perdure.watch WHERE target = asked)
    ORDER BY seq FOR UPDATE;
    UPDATE perdure.invocation SET
        state = 'running', epoch = invocation.epoch + 1, lease_until = perdure.now(),
        wake_at = NULL, reason = ''
    WHERE seq = asked AND invocation.epoch = seize.epoch
        AND state NOT IN ('completed', 'failed', 'cancelled', 'terminated')
    RETURNING head INTO found_head;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'stale', NULL::text, NULL::bigint;
        RETURN;
    END IF;
    RETURN QUERY SELECT done.verdict, done.told_id, done.told_generation
    FROM perdure.commit(
        ARRAY[id], ARRAY[generation], ARRAY[seize.epoch + 1], ARRAY[found_head], ARRAY[found_head],
        ARRAY[''::bytea], ARRAY[token], ARRAY[0::bigint], ARRAY[fate], ARRAY[new_state],
        ARRAY[NULL::bigint], ARRAY[outcome], ARRAY[reason],
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'
    ) AS done;
END
$$;
