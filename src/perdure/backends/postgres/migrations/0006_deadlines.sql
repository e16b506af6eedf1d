-- min_reader: 3
-- min_writer: 6
-- Deadlines of workflows, to find what is past its own although nobody has ever claimed it. A
-- program that does not know of them would let such a workflow run on.

ALTER TABLE perdure.invocation ADD COLUMN deadline bigint;

CREATE INDEX invocation_deadline ON perdure.invocation (app, deadline)
    WHERE deadline IS NOT NULL AND state = 'ready' AND epoch = 0;

-- When something with these options is to have ended, if it is started at `store_now`; NULL if it
-- may take as long as it likes. Most have no options, and nothing is read then.
CREATE FUNCTION perdure.deadline_of(options bytea, store_now bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(options) > 2 THEN (
        SELECT least(
            store_now + (members ->> 'ends_within')::bigint, (members ->> 'ends_by')::bigint
        )
        FROM (SELECT convert_from(options, 'UTF8')::json AS members) AS given
    ) END
$$;

-- The hot and the cold rows of new invocations, numbered in their order: ready, epoch 0, an empty
-- journal. Only the chosen ones; an id that is taken fails all.
CREATE OR REPLACE FUNCTION perdure.insert_invocations(
    chosen boolean[], store_now bigint, ids text[], apps text[], kinds text[], names text[],
    parent_ids text[], parent_generations bigint[], root_ids text[], root_generations bigint[],
    queues text[], limit_keys text[], priorities bigint[], delays bigint[], arguments bytea[],
    fingerprints bytea[], call_ids text[], workflow_ids text[], workflow_generations bigint[],
    options bytea[], code_versions text[], seeds bytea[], draw_algorithms bigint[],
    segments bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    seqs CONSTANT bigint[] := ARRAY(
        SELECT nextval('perdure.invocation_seq') FROM generate_series(1, cardinality(ids))
    );
BEGIN
    INSERT INTO perdure.invocation (
        seq, invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
        root_generation, queue, limit_key, priority, wake_at, created_at, ready_since, state,
        epoch, owner, head, head_hash, last_token, attempts, crashes, reason, deadline
    )
    SELECT
        new.seq, new.id, 1, new.app, new.kind, new.name, new.parent_id, new.parent_generation,
        new.root_id, new.root_generation, new.queue, new.limit_key, new.priority,
        store_now + new.delay, store_now, store_now, 'ready', 0, '', 0, ''::bytea, ''::bytea,
        0, 0, '', perdure.deadline_of(new.options, store_now)
    FROM unnest(
        chosen, seqs, ids, apps, kinds, names, parent_ids, parent_generations, root_ids,
        root_generations, queues, limit_keys, priorities, delays, options
    ) AS new (
        is_chosen, seq, id, app, kind, name, parent_id, parent_generation, root_id,
        root_generation, queue, limit_key, priority, delay, options
    )
    WHERE new.is_chosen;
    INSERT INTO perdure.call (
        seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options,
        code_version, seed, draw_algorithm, segment
    )
    SELECT
        new.seq, new.arguments, new.fingerprint, new.call_id, new.workflow_id,
        new.workflow_generation, new.options, new.code_version, new.seed, new.draw_algorithm,
        new.segment
    FROM unnest(
        chosen, seqs, arguments, fingerprints, call_ids, workflow_ids, workflow_generations,
        options, code_versions, seeds, draw_algorithms, segments
    ) AS new (
        is_chosen, seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options,
        code_version, seed, draw_algorithm, segment
    )
    WHERE new.is_chosen;
END
$$;
