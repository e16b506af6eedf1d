-- min_reader: 3
-- min_writer: 6
-- A start that claims what it starts is one call. Older programs do it in several; they may go on.

-- As `perdure.start`, and what is started is claimed at that instant: it is running in epoch 1.
CREATE FUNCTION perdure.start_claimed(
    lists bigint[], ids text[], apps text[], kinds text[], names text[], parent_ids text[],
    parent_generations bigint[], root_ids text[], root_generations bigint[], queues text[],
    limit_keys text[], priorities bigint[], delays bigint[], arguments bytea[],
    fingerprints bytea[], call_ids text[], workflow_ids text[], workflow_generations bigint[],
    options bytea[], code_versions text[], seeds bytea[], draw_algorithms bigint[],
    segments bigint[], owners text[], leases bigint[], tokens bytea[],
    OUT newer_list bigint, OUT started_at bigint
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT begun.newer_list, begun.started_at INTO newer_list, started_at
    FROM perdure.start(
        lists, ids, apps, kinds, names, parent_ids, parent_generations, root_ids, root_generations,
        queues, limit_keys, priorities, delays, arguments, fingerprints, call_ids, workflow_ids,
        workflow_generations, options, code_versions, seeds, draw_algorithms, segments
    ) AS begun;
    IF started_at IS NOT NULL THEN
        UPDATE perdure.invocation SET
            state = 'running', epoch = 1, owner = owners[1], last_token = tokens[1],
            lease_until = started_at + leases[1], base_time = started_at
        WHERE invocation_id = ids[1] AND generation = 1;
    END IF;
END
$$;
