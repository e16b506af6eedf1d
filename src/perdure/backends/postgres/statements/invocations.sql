-- Rows of invocations: start, read, claim, renew, resume.

-- name: now
-- The clock of the store.
SELECT perdure.now();

-- name: store_id
-- The random id made with the database.
SELECT store_id FROM perdure.meta;

-- name: read_latest
-- The newest generation of an id.
SELECT * FROM perdure.record WHERE invocation_id = %(id)s ORDER BY generation DESC LIMIT 1;

-- name: read_generation
-- One generation of an id.
SELECT * FROM perdure.record
WHERE invocation_id = %(id)s AND generation = %(generation)s;

-- name: start
-- The first generation of an id, in one call of a function of ours (migration 4).
SELECT newer_list, started_at FROM perdure.start(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
);

-- name: start_claimed
-- The same, claimed at that instant (migration 8).
SELECT newer_list, started_at FROM perdure.start_claimed(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s
);

-- name: lock_id
-- Waits for every write in flight on the rows of an id.
SELECT seq FROM perdure.invocation WHERE invocation_id = %(id)s ORDER BY seq FOR UPDATE;

-- name: take_seqs
-- Numbers for new rows, in the order of their start.
SELECT nextval('perdure.invocation_seq') FROM generate_series(1, %(count)s);

-- name: insert_invocation
-- The hot row of a new invocation: ready, epoch 0, an empty journal. No row if the id is taken.
INSERT INTO perdure.invocation (
    seq, invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
    root_generation, queue, limit_key, priority, state, epoch, owner, lease_until, wake_at,
    ready_since, head, head_hash, last_token, attempts, crashes, base_time, created_at,
    finished_at, reason, outcome, deadline
) VALUES (
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'ready', 0, '', NULL, %s, %s, 0, ''::bytea,
    ''::bytea, 0, 0, NULL, %s, NULL, '', NULL, %s
) ON CONFLICT (invocation_id, generation) DO NOTHING;

-- name: insert_claimed
-- The hot row of a new invocation that its start claims: running, epoch 1, an empty journal. No row if
-- the id is taken.
INSERT INTO perdure.invocation (
    seq, invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,
    root_generation, queue, limit_key, priority, wake_at, ready_since, created_at, deadline, epoch,
    owner, lease_until, last_token, base_time, state, head, head_hash, attempts, crashes,
    finished_at, reason, outcome
) VALUES (
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    'running', 0, ''::bytea, 0, 0, NULL, '', NULL
) ON CONFLICT (invocation_id, generation) DO NOTHING;

-- name: insert_call
-- The cold row of a new invocation: what was asked; it never changes.
INSERT INTO perdure.call (
    seq, arguments, fingerprint, call_id, workflow_id, workflow_generation, options, code_version,
    seed, draw_algorithm, segment
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s);

-- name: query_page
-- One page of an app's invocations, newest first, that follows the row (after_created_at, after_id,
-- after_generation). A filter that is NULL does not filter.
SELECT * FROM perdure.record
WHERE app = %(app)s
    AND (created_at, invocation_id, generation)
        < (%(after_created_at)s, %(after_id)s, %(after_generation)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(name)s::text IS NULL OR name = %(name)s)
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
    AND (%(prefix)s::text IS NULL OR starts_with(invocation_id, %(prefix)s))
ORDER BY created_at DESC, invocation_id DESC, generation DESC
LIMIT %(limit)s;

-- name: query_live
-- Like query_page, for states whose rows are due now or at some time: looked for among those rows
-- and not among all that have ended.
WITH found AS MATERIALIZED (
    SELECT seq FROM perdure.invocation
    WHERE app = %(app)s AND due_at IS NOT NULL AND state = ANY(%(states)s)
        AND (created_at, invocation_id, generation)
            < (%(after_created_at)s, %(after_id)s, %(after_generation)s)
        AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(name)s::text IS NULL OR name = %(name)s)
        AND (%(prefix)s::text IS NULL OR starts_with(invocation_id, %(prefix)s))
    ORDER BY created_at DESC, invocation_id DESC, generation DESC
    LIMIT %(limit)s
)
SELECT record.* FROM found INNER JOIN perdure.record USING (seq)
ORDER BY created_at DESC, invocation_id DESC, generation DESC;

-- name: query_children
-- One page of the children of one parent, found by the parent and not by age.
SELECT * FROM perdure.record
WHERE parent_id = %(parent_id)s AND parent_generation = %(parent_generation)s
    AND app = %(app)s
    AND (created_at, invocation_id, generation)
        < (%(after_created_at)s, %(after_id)s, %(after_generation)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(name)s::text IS NULL OR name = %(name)s)
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
    AND (%(prefix)s::text IS NULL OR starts_with(invocation_id, %(prefix)s))
ORDER BY created_at DESC, invocation_id DESC, generation DESC
LIMIT %(limit)s;

-- name: created_at
-- Where a page ended.
SELECT created_at FROM perdure.invocation
WHERE invocation_id = %(id)s AND generation = %(generation)s;

-- name: due
-- What is claimable, in the order of claiming, without the queues and keys that are full. The lanes
-- (queue and priority) are found by skipping through the index; in each of them what is ready and
-- what is due by time are two ranges of it. So the cost is the lanes plus the rows wanted.
WITH RECURSIVE lane AS (
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
)
SELECT lane.priority, found.due_at, found.seq, lane.queue, found.limit_key
FROM lane CROSS JOIN LATERAL (
    (
        SELECT due_at, seq, limit_key FROM perdure.invocation
        WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
            AND timed = 0 AND due_at IS NOT NULL AND name = ANY(%(names)s)
            AND (queue || chr(10) || limit_key) NOT IN (SELECT unnest(%(full_keys)s::text[]))
        ORDER BY due_at, seq LIMIT %(page)s
    )
    UNION ALL
    (
        SELECT due_at, seq, limit_key FROM perdure.invocation
        WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
            AND timed = 1 AND due_at <= %(now)s AND name = ANY(%(names)s)
            AND (queue || chr(10) || limit_key) NOT IN (SELECT unnest(%(full_keys)s::text[]))
        ORDER BY due_at, seq LIMIT %(page)s
    )
) AS found
WHERE (%(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s))
    AND NOT lane.queue = ANY(%(full_queues)s)
ORDER BY lane.priority DESC, found.due_at, found.seq
LIMIT %(page)s;

-- name: due_in_tree
-- Like due, within the trees of some roots.
SELECT priority, due_at, seq, queue, limit_key
FROM perdure.invocation INNER JOIN unnest(%(root_ids)s::text[], %(root_generations)s::int[])
    AS root (id, generation) ON root_id = root.id AND root_generation = root.generation
WHERE app = %(app)s AND due_at IS NOT NULL AND (timed = 0 OR due_at <= %(now)s)
    AND name = ANY(%(names)s)
    AND (queue || chr(10) || limit_key) NOT IN (SELECT unnest(%(full_keys)s::text[]))
    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    AND NOT queue = ANY(%(full_queues)s)
ORDER BY priority DESC, due_at, seq
LIMIT %(page)s;

-- name: next_due
-- When the next row becomes claimable by time alone. The lanes are found as in `due`, for a backlog
-- lies before the timers in the index.
WITH RECURSIVE lane AS (
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
)
SELECT min(found.due_at)
FROM lane CROSS JOIN LATERAL (
    SELECT due_at FROM perdure.invocation
    WHERE app = %(app)s AND queue = lane.queue AND priority = lane.priority
        AND timed = 1 AND due_at > %(now)s AND name = ANY(%(names)s)
    ORDER BY due_at LIMIT 1
) AS found
WHERE (%(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s));

-- name: next_due_in_tree
-- Like next_due, within the trees of some roots.
SELECT min(due_at)
FROM perdure.invocation INNER JOIN unnest(%(root_ids)s::text[], %(root_generations)s::int[])
    AS root (id, generation) ON root_id = root.id AND root_generation = root.generation
WHERE app = %(app)s AND timed = 1 AND due_at > %(now)s AND name = ANY(%(names)s)
    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s));

-- name: abandoned
-- Rows whose owner is known to be gone while the lease still runs; they are claimable at once.
SELECT priority, seq, queue, limit_key, root_id, root_generation FROM perdure.invocation
WHERE state = 'running' AND owner = ANY(%(dead_owners)s) AND lease_until > %(now)s
    AND app = %(app)s AND name = ANY(%(names)s);

-- name: guard_queue
-- Keeps two claims of one limited queue apart, until the end of the transaction; and the time when
-- the other one was through.
SELECT
    pg_advisory_xact_lock(%(space)s, hashtext(%(app)s || chr(10) || %(queue)s)),
    perdure.now();

-- name: queue_usage
-- Live leases of a queue, and how many of them are the owner's.
SELECT count(*), count(*) FILTER (WHERE owner = %(owner)s) FROM perdure.invocation
WHERE app = %(app)s AND queue = %(queue)s AND state = 'running' AND lease_until > %(now)s
    AND NOT owner = ANY(%(dead_owners)s);

-- name: keys_in_use
-- Live leases of a queue by limit key.
SELECT limit_key, count(*) FROM perdure.invocation
WHERE app = %(app)s AND queue = %(queue)s AND limit_key <> '' AND state = 'running'
    AND lease_until > %(now)s AND NOT owner = ANY(%(dead_owners)s)
GROUP BY limit_key;

-- name: recent_claims
-- Claims of a queue with a rate after some time.
SELECT count(*) FROM perdure.claim_log
WHERE app = %(app)s AND queue = %(queue)s AND at > %(since)s;

-- name: log_claims
-- Claims of a queue with a rate.
INSERT INTO perdure.claim_log (app, queue, at)
SELECT %(app)s, %(queue)s, %(now)s FROM generate_series(1, %(count)s);

-- name: forget_claims
-- Claims that no rate looks at any more.
DELETE FROM perdure.claim_log WHERE app = %(app)s AND queue = %(queue)s AND at <= %(since)s;

-- name: grant
-- The claim itself: of the rows wanted the first ones that nobody else has locked and that are
-- still claimable. Taking a running row is a crash.
WITH taken AS (
    SELECT invocation.seq
    FROM perdure.invocation INNER JOIN unnest(%(seqs)s::bigint[]) WITH ORDINALITY
        AS wanted (seq, place) ON invocation.seq = wanted.seq
    WHERE due_at IS NOT NULL AND (
        timed = 0 OR due_at <= %(now)s OR (state = 'running' AND owner = ANY(%(dead_owners)s))
    )
    ORDER BY wanted.place LIMIT %(limit)s FOR UPDATE OF invocation SKIP LOCKED
)
UPDATE perdure.invocation SET
    state = 'running',
    epoch = epoch + 1,
    owner = %(owner)s,
    lease_until = %(until)s,
    wake_at = NULL,
    crashes = crashes + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
    base_time = coalesce(base_time, %(now)s)
FROM taken WHERE invocation.seq = taken.seq
RETURNING invocation.seq;

-- name: read_granted
-- The rows just claimed, with what was asked of them.
SELECT * FROM perdure.record WHERE seq = ANY(%(seqs)s);

-- name: renew
-- Longer leases, for those that are still held and not over. Rows are locked in the order of seq;
-- a row that is waited for is looked at again, by the clock of then.
WITH held AS (
    SELECT invocation.seq
    FROM perdure.invocation INNER JOIN unnest(
        %(ids)s::text[], %(generations)s::int[], %(epochs)s::bigint[]
    ) AS holding (id, generation, epoch)
        ON invocation_id = holding.id AND invocation.generation = holding.generation
            AND invocation.epoch = holding.epoch
    WHERE state = 'running' AND owner = %(owner)s AND lease_until > perdure.now()
    ORDER BY invocation.seq FOR UPDATE OF invocation
)
UPDATE perdure.invocation SET lease_until = (SELECT perdure.now()) + %(lease)s
FROM held WHERE invocation.seq = held.seq
RETURNING invocation_id, generation, epoch, (SELECT perdure.now());

-- name: resume
-- Paused, parked or dead back to ready, with a fresh set of chances.
UPDATE perdure.invocation
SET state = 'ready', crashes = 0, reason = '', wake_at = NULL, ready_since = perdure.now()
WHERE invocation_id = %(id)s AND generation = %(generation)s AND state IN ('paused', 'parked', 'dead');

-- name: past_deadline
-- What is past its deadline and nobody has claimed, earliest deadline first.
SELECT record.*
FROM perdure.invocation INNER JOIN perdure.record USING (seq)
WHERE invocation.app = %(app)s AND invocation.deadline <= perdure.now()
    AND invocation.state = 'ready' AND invocation.epoch = 0
ORDER BY invocation.deadline, seq LIMIT %(limit)s;

-- name: owners
-- Who holds leases now.
SELECT DISTINCT owner FROM perdure.invocation WHERE state = 'running';

-- name: queues
-- Each queue with something that time can make claimable: ready, scheduled, running, and since when
-- the first one is ready.
SELECT
    queue,
    count(*) FILTER (WHERE timed = 0 OR due_at <= %(now)s),
    count(*) FILTER (WHERE timed = 1 AND due_at > %(now)s AND state <> 'running'),
    count(*) FILTER (WHERE due_at > %(now)s AND state = 'running'),
    min(due_at) FILTER (WHERE timed = 0 OR due_at <= %(now)s)
FROM perdure.invocation WHERE app = %(app)s AND due_at IS NOT NULL
GROUP BY queue ORDER BY queue;
