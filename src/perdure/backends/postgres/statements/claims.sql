-- Claims in one statement, of what no limit keeps back.

-- name: claim
-- What is claimable is found as in `due`, and of that the first rows are taken that nobody else has
-- locked and that are still claimable. Nothing is taken from the first row on that a limit may keep
-- back; whether there is one is the last column but one. One row without an invocation says that
-- nothing was taken; only then the last column is when the next row becomes claimable by time.
WITH RECURSIVE clock AS MATERIALIZED (SELECT perdure.now() AS at),
lane AS (
    (
        SELECT queue, priority FROM perdure.invocation
        WHERE app = %(app)s AND due_at IS NOT NULL
        ORDER BY queue, priority DESC LIMIT 1
    )
    UNION ALL
    SELECT following.queue, following.priority
    FROM lane CROSS JOIN LATERAL (
        (
            SELECT queue, priority FROM perdure.invocation
            WHERE app = %(app)s AND due_at IS NOT NULL
                AND queue = lane.queue AND priority < lane.priority
            ORDER BY priority DESC LIMIT 1
        )
        UNION ALL
        (
            SELECT queue, priority FROM perdure.invocation
            WHERE app = %(app)s AND due_at IS NOT NULL AND queue > lane.queue
            ORDER BY queue, priority DESC LIMIT 1
        )
        LIMIT 1
    ) AS following
),
found AS MATERIALIZED (
    SELECT
        row_number() OVER (ORDER BY lane.priority DESC, due.due_at, due.seq) AS place,
        due.seq,
        due.limit_key <> '' OR lane.queue = ANY(%(limited)s::text[]) AS guarded
    FROM lane CROSS JOIN LATERAL (
        (
            SELECT due_at, seq, limit_key FROM perdure.invocation
            WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
                AND timed = 0 AND due_at IS NOT NULL AND name = ANY(%(names)s)
            ORDER BY due_at, seq LIMIT %(page)s
        )
        UNION ALL
        (
            SELECT due_at, seq, limit_key FROM perdure.invocation
            WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
                AND timed = 1 AND due_at <= (SELECT at FROM clock) AND name = ANY(%(names)s)
            ORDER BY due_at, seq LIMIT %(page)s
        )
    ) AS due
    WHERE %(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s)
    ORDER BY place LIMIT %(page)s
),
taken AS (
    SELECT invocation.seq, wanted.place
    FROM unnest(ARRAY(
        SELECT seq FROM found
        WHERE place < coalesce((SELECT min(place) FROM found WHERE guarded), %(page)s + 1)
        ORDER BY place
    )) WITH ORDINALITY AS wanted (seq, place)
        INNER JOIN perdure.invocation ON invocation.seq = wanted.seq
    WHERE due_at IS NOT NULL AND (timed = 0 OR due_at <= (SELECT at FROM clock))
    ORDER BY wanted.place LIMIT %(limit)s FOR UPDATE OF invocation SKIP LOCKED
),
granted AS (
    UPDATE perdure.invocation SET
        state = 'running',
        epoch = epoch + 1,
        owner = %(owner)s,
        lease_until = (SELECT at FROM clock) + %(lease)s,
        wake_at = NULL,
        crashes = crashes + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
        base_time = coalesce(base_time, (SELECT at FROM clock))
    FROM taken WHERE invocation.seq = taken.seq
    RETURNING invocation.*, taken.place
)
SELECT
    invocation_id, generation, app, kind, name, arguments, fingerprint, call_id,
    parent_id, parent_generation, root_id, root_generation, workflow_id, workflow_generation,
    queue, limit_key, priority, options, code_version, seed, draw_algorithm, segment,
    state, epoch, owner, lease_until, wake_at, head, head_hash, last_token, attempts, crashes,
    base_time, created_at, finished_at, outcome, reason, seq,
    clock.at,
    EXISTS (SELECT FROM found WHERE guarded),
    CASE WHEN seq IS NULL THEN (
        SELECT min(soonest.due_at)
        FROM lane CROSS JOIN LATERAL (
            SELECT due_at FROM perdure.invocation
            WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
                AND timed = 1 AND due_at > (SELECT at FROM clock) AND name = ANY(%(names)s)
            ORDER BY due_at LIMIT 1
        ) AS soonest
        WHERE %(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s)
    ) END
FROM clock LEFT JOIN (granted INNER JOIN perdure.call USING (seq)) ON TRUE
ORDER BY place;

-- name: claim_in_tree
-- Like claim, within the trees of some roots.
WITH clock AS MATERIALIZED (SELECT perdure.now() AS at),
found AS MATERIALIZED (
    SELECT
        row_number() OVER (ORDER BY priority DESC, due_at, seq) AS place,
        seq,
        limit_key <> '' OR queue = ANY(%(limited)s::text[]) AS guarded
    FROM unnest(%(root_ids)s::text[], %(root_generations)s::int[]) AS root (id, generation)
        INNER JOIN perdure.invocation ON root_id = root.id AND root_generation = root.generation
    WHERE app = %(app)s AND due_at IS NOT NULL
        AND (timed = 0 OR due_at <= (SELECT at FROM clock))
        AND name = ANY(%(names)s)
        AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    ORDER BY place LIMIT %(page)s
),
taken AS (
    SELECT invocation.seq, wanted.place
    FROM unnest(ARRAY(
        SELECT seq FROM found
        WHERE place < coalesce((SELECT min(place) FROM found WHERE guarded), %(page)s + 1)
        ORDER BY place
    )) WITH ORDINALITY AS wanted (seq, place)
        INNER JOIN perdure.invocation ON invocation.seq = wanted.seq
    WHERE due_at IS NOT NULL AND (timed = 0 OR due_at <= (SELECT at FROM clock))
    ORDER BY wanted.place LIMIT %(limit)s FOR UPDATE OF invocation SKIP LOCKED
),
granted AS (
    UPDATE perdure.invocation SET
        state = 'running',
        epoch = epoch + 1,
        owner = %(owner)s,
        lease_until = (SELECT at FROM clock) + %(lease)s,
        wake_at = NULL,
        crashes = crashes + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
        base_time = coalesce(base_time, (SELECT at FROM clock))
    FROM taken WHERE invocation.seq = taken.seq
    RETURNING invocation.*, taken.place
)
SELECT
    invocation_id, generation, app, kind, name, arguments, fingerprint, call_id,
    parent_id, parent_generation, root_id, root_generation, workflow_id, workflow_generation,
    queue, limit_key, priority, options, code_version, seed, draw_algorithm, segment,
    state, epoch, owner, lease_until, wake_at, head, head_hash, last_token, attempts, crashes,
    base_time, created_at, finished_at, outcome, reason, seq,
    clock.at,
    EXISTS (SELECT FROM found WHERE guarded),
    CASE WHEN seq IS NULL THEN (
        SELECT min(due_at)
        FROM unnest(%(root_ids)s::text[], %(root_generations)s::int[]) AS root (id, generation)
            INNER JOIN perdure.invocation
                ON root_id = root.id AND root_generation = root.generation
        WHERE app = %(app)s AND timed = 1 AND due_at > (SELECT at FROM clock)
            AND name = ANY(%(names)s)
            AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    ) END
FROM clock LEFT JOIN (granted INNER JOIN perdure.call USING (seq)) ON TRUE
ORDER BY place;
