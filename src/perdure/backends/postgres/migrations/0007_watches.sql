-- min_reader: 3
-- min_writer: 6
-- A watch of what is being started at that moment was lost if the start was committed between two
-- looks of one call, or if it ended between the look and the watch. Nothing else is new, so programs
-- that know schema 6 may call this function too.

-- Rows are locked first, in the order of seq, so no two batches wait for each other crosswise. Each
-- statement that follows has a new picture of the database, which holds what was committed before
-- the locks were got.
--
-- Every transition is one element of the first arrays; what belongs to it names its place, from 1.
-- A row is in a batch once, and no two transitions bring children of the same id: the caller sees
-- to that. `fates` are NULL (the lease is kept), 'suspend', 'finish', 'retry', 'release', 'stop';
-- `moments` is the time of a suspension, or the delay of a retry.
--
-- It gives for each transition the state of its row afterwards, or why it changed nothing; with a
-- `told_id`, who got something to read besides. Nothing was written if the first place is 0: then
-- `verdict` is the number of a list of servers that is newer than one of `child_lists`.
CREATE OR REPLACE FUNCTION perdure.commit(
    ids text[], generations bigint[], epochs bigint[], heads bigint[], new_heads bigint[],
    head_hashes bytea[], tokens bytea[], resets bigint[], fates text[], ends text[],
    moments bigint[], outcomes bytea[], reasons text[],

    entry_places bigint[], entry_positions bigint[], entry_kinds text[], entry_scopes text[],
    entry_ordinals bigint[], entry_keys text[], entry_names text[], entry_digests bytea[],
    entry_bodies bytea[], entry_metas bytea[], entry_ats bigint[], entry_epochs bigint[],
    entry_tokens bytea[], entry_checksums bytea[], entry_codecs text[], entry_key_ids text[],

    child_places bigint[] DEFAULT '{}', child_lists bigint[] DEFAULT '{}',
    child_ids text[] DEFAULT '{}',
    child_apps text[] DEFAULT '{}', child_kinds text[] DEFAULT '{}',
    child_names text[] DEFAULT '{}', child_parent_ids text[] DEFAULT '{}',
    child_parent_generations bigint[] DEFAULT '{}', child_root_ids text[] DEFAULT '{}',
    child_root_generations bigint[] DEFAULT '{}', child_queues text[] DEFAULT '{}',
    child_limit_keys text[] DEFAULT '{}', child_priorities bigint[] DEFAULT '{}',
    child_delays bigint[] DEFAULT '{}', child_arguments bytea[] DEFAULT '{}',
    child_fingerprints bytea[] DEFAULT '{}', child_call_ids text[] DEFAULT '{}',
    child_workflow_ids text[] DEFAULT '{}', child_workflow_generations bigint[] DEFAULT '{}',
    child_options bytea[] DEFAULT '{}', child_code_versions text[] DEFAULT '{}',
    child_seeds bytea[] DEFAULT '{}', child_draw_algorithms bigint[] DEFAULT '{}',
    child_segments bigint[] DEFAULT '{}',

    watch_places bigint[] DEFAULT '{}', watch_ids text[] DEFAULT '{}',
    watch_generations bigint[] DEFAULT '{}',

    foreign_places bigint[] DEFAULT '{}', foreign_ids text[] DEFAULT '{}',
    foreign_generations bigint[] DEFAULT '{}', foreign_servers bigint[] DEFAULT '{}',

    read_places bigint[] DEFAULT '{}', read_ids bigint[] DEFAULT '{}',

    data_places bigint[] DEFAULT '{}', data_names text[] DEFAULT '{}',
    data_values bytea[] DEFAULT '{}'
) RETURNS TABLE (place bigint, verdict text, told_id text, told_generation bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    terminal CONSTANT text[] := '{completed,failed,cancelled,terminated}';
    store_now bigint;
    newer_list bigint;
    has_ends CONSTANT boolean := 'finish' = ANY(fates);
    has_watches CONSTANT boolean := cardinality(watch_ids) > 0;
    -- By place: the row of a transition, and why it is refused ('' if it is not).
    seqs bigint[];
    verdicts text[];
    ending bigint[];
    locked bigint[];
    told bigint[];
    late bigint[];
    targets bigint[];
    found bigint;
BEGIN
    IF cardinality(child_ids) > 0 THEN
        newer_list := perdure.newer_list(child_lists);
        IF newer_list IS NOT NULL THEN
            RETURN QUERY SELECT 0::bigint, newer_list::text, NULL::text, NULL::bigint;
            RETURN;
        END IF;
    END IF;

    -- Locks.
    SELECT array_agg(invocation.seq ORDER BY asked.place) INTO seqs
    FROM unnest(ids, generations) WITH ORDINALITY AS asked (id, generation, place)
        LEFT JOIN perdure.invocation ON invocation.invocation_id = asked.id
            AND invocation.generation = asked.generation;
    locked := array_remove(seqs, NULL);
    IF has_watches THEN
        locked := locked || ARRAY(
            SELECT invocation.seq
            FROM unnest(watch_ids, watch_generations) AS target (id, generation)
                INNER JOIN perdure.invocation ON invocation.invocation_id = target.id
                    AND invocation.generation = target.generation
        );
    END IF;
    IF has_ends THEN
        ending := ARRAY(
            SELECT asked.seq FROM unnest(seqs, fates) AS asked (seq, fate)
            WHERE asked.fate = 'finish'
        );
        locked := locked || ARRAY(SELECT watcher FROM perdure.watch WHERE target = ANY(ending));
    END IF;
    PERFORM FROM perdure.invocation WHERE seq = ANY(locked) ORDER BY seq FOR UPDATE;
    IF has_ends THEN
        -- Who watches what ends is certain only now. One that came in between is locked if that
        -- needs no waiting, for it may be out of order; else all begins anew.
        late := ARRAY(
            SELECT DISTINCT watcher FROM perdure.watch
            WHERE target = ANY(ending) AND NOT watcher = ANY(locked)
        );
        PERFORM FROM perdure.invocation WHERE seq = ANY(late) FOR UPDATE SKIP LOCKED;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found < cardinality(late) THEN
            RAISE EXCEPTION 'a watcher came while a batch was being locked'
                USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    store_now := perdure.now();

    -- Verdicts.
    SELECT array_agg(
        CASE
            WHEN invocation.state IS DISTINCT FROM 'running' OR invocation.epoch <> asked.epoch
                THEN 'stale'
            WHEN invocation.head <> asked.head THEN 'wrong_head'
            ELSE ''
        END ORDER BY asked.place
    ) INTO verdicts
    FROM unnest(seqs, epochs, heads) WITH ORDINALITY AS asked (seq, epoch, head, place)
        LEFT JOIN perdure.invocation ON invocation.seq = asked.seq;
    IF cardinality(child_ids) > 0 THEN
        SELECT array_agg(
            CASE
                WHEN given.verdict = '' AND given.place IN (
                    SELECT child.place FROM unnest(child_places, child_ids) AS child (place, id)
                    GROUP BY child.place, child.id
                    HAVING count(*) > 1 OR EXISTS (
                        SELECT FROM perdure.invocation WHERE invocation_id = child.id
                    )
                ) THEN 'child_exists'
                ELSE given.verdict
            END ORDER BY given.place
        ) INTO verdicts
        FROM unnest(verdicts) WITH ORDINALITY AS given (verdict, place);
    END IF;

    -- Journals. An entry is never written over: its key is unique.
    IF cardinality(entry_places) > 0 THEN
        INSERT INTO perdure.entry (
            seq, position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token,
            checksum, codec, key_id
        )
        SELECT
            seqs[new.place], new.position, new.kind, new.scope, new.ordinal, new.key, new.name,
            new.digest, new.body, new.meta, new.at, new.epoch, new.token, new.checksum, new.codec,
            new.key_id
        FROM unnest(
            entry_places, entry_positions, entry_kinds, entry_scopes, entry_ordinals, entry_keys,
            entry_names, entry_digests, entry_bodies, entry_metas, entry_ats, entry_epochs,
            entry_tokens, entry_checksums, entry_codecs, entry_key_ids
        ) AS new (
            place, position, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token,
            checksum, codec, key_id
        )
        WHERE verdicts[new.place] = '';
    END IF;
    IF cardinality(read_ids) > 0 THEN
        DELETE FROM perdure.inbox USING unnest(read_places, read_ids) AS gone (place, row_id)
        WHERE inbox.row_id = gone.row_id AND inbox.seq = seqs[gone.place]
            AND verdicts[gone.place] = '';
    END IF;
    IF cardinality(data_names) > 0 THEN
        INSERT INTO perdure.workflow_data (seq, name, value)
        SELECT seqs[new.place], new.name, new.value
        FROM unnest(data_places, data_names, data_values) AS new (place, name, value)
        WHERE verdicts[new.place] = ''
        ON CONFLICT (seq, name) DO UPDATE SET value = excluded.value;
    END IF;

    -- Children. An id that somebody else takes meanwhile fails the batch; it is then begun anew.
    IF cardinality(child_ids) > 0 THEN
        PERFORM perdure.insert_invocations(
            ARRAY(
                SELECT verdicts[child.place] = ''
                FROM unnest(child_places) WITH ORDINALITY AS child (place, number)
                ORDER BY child.number
            ),
            store_now, child_ids, child_apps, child_kinds, child_names, child_parent_ids,
            child_parent_generations, child_root_ids, child_root_generations, child_queues,
            child_limit_keys, child_priorities, child_delays, child_arguments, child_fingerprints,
            child_call_ids, child_workflow_ids, child_workflow_generations, child_options,
            child_code_versions, child_seeds, child_draw_algorithms, child_segments
        );
    END IF;

    -- Watches: of what is over or is not there, there is something to read at once. What somebody
    -- started since the locks were got is locked too, or its end could pass by in between; if that
    -- needs waiting, all begins anew. Then one look decides.
    IF has_watches THEN
        targets := ARRAY(
            SELECT invocation.seq
            FROM unnest(watch_ids, watch_generations) WITH ORDINALITY
                AS target (id, generation, number)
                LEFT JOIN perdure.invocation ON invocation.invocation_id = target.id
                    AND invocation.generation = target.generation
            ORDER BY target.number
        );
        IF NOT targets <@ locked THEN
            late := ARRAY(
                SELECT seq FROM perdure.invocation
                WHERE seq = ANY(targets) AND NOT seq = ANY(locked)
                    AND xmin <> pg_current_xact_id()::xid -- nobody sees what this batch started
            );
            PERFORM FROM perdure.invocation WHERE seq = ANY(late) FOR UPDATE SKIP LOCKED;
            GET DIAGNOSTICS found = ROW_COUNT;
            IF found < cardinality(late) THEN
                RAISE EXCEPTION 'what is watched came while a batch was being written'
                    USING ERRCODE = 'serialization_failure';
            END IF;
        END IF;
        RETURN QUERY
        WITH wanted AS MATERIALIZED (
            SELECT
                new.place, new.id, new.generation, new.number, new.seq,
                coalesce(target.state = ANY(terminal), TRUE) AS is_over
            FROM unnest(watch_places, watch_ids, watch_generations, targets) WITH ORDINALITY
                AS new (place, id, generation, seq, number)
                LEFT JOIN perdure.invocation AS target ON target.seq = new.seq
            WHERE verdicts[new.place] = ''
        ),
        watched AS (
            INSERT INTO perdure.watch (target, watcher)
            SELECT wanted.seq, seqs[wanted.place]
            FROM wanted WHERE NOT wanted.is_over ORDER BY wanted.number
        ),
        delivered AS (
            INSERT INTO perdure.inbox (seq, kind, source_id, source_generation)
            SELECT seqs[wanted.place], 'done', wanted.id, wanted.generation
            FROM wanted WHERE wanted.is_over ORDER BY wanted.number
        )
        SELECT wanted.place, NULL::text, ids[wanted.place], generations[wanted.place]
        FROM wanted WHERE wanted.is_over;
    END IF;
    IF cardinality(foreign_ids) > 0 THEN
        INSERT INTO perdure.foreign_watch (target_id, target_generation, server, watcher)
        SELECT new.id, new.generation, new.server, seqs[new.place]
        FROM unnest(foreign_places, foreign_ids, foreign_generations, foreign_servers)
            WITH ORDINALITY AS new (place, id, generation, server, number)
        WHERE verdicts[new.place] = ''
        ORDER BY new.number;
    END IF;

    -- Ends. Who waits is told and, if it holds no lease, ready in the same transaction, so no
    -- wake-up is lost; what nobody will ever read is dropped; what other servers watch is in the
    -- outbox from now on.
    IF has_ends THEN
        ending := ARRAY(
            SELECT asked.seq FROM unnest(seqs, fates, verdicts) AS asked (seq, fate, verdict)
            WHERE asked.fate = 'finish' AND asked.verdict = ''
        );
        told := ARRAY(
            SELECT invocation.seq FROM perdure.invocation
            WHERE seq = ANY(ARRAY(SELECT watcher FROM perdure.watch WHERE target = ANY(ending)))
                AND NOT state = ANY(terminal) AND NOT seq = ANY(ending)
        );
        IF cardinality(told) > 0 THEN
            INSERT INTO perdure.inbox (seq, kind, source_id, source_generation)
            SELECT watch.watcher, 'done', ids[over.place], generations[over.place]
            FROM unnest(seqs) WITH ORDINALITY AS over (seq, place)
                INNER JOIN perdure.watch ON watch.target = over.seq
            WHERE over.seq = ANY(ending) AND watch.watcher = ANY(told)
            ORDER BY over.place, watch.watch_id;
            UPDATE perdure.invocation SET state = 'ready', wake_at = NULL, ready_since = store_now
            WHERE seq = ANY(told) AND state = 'waiting';
            RETURN QUERY
            SELECT over.place, NULL::text, waiter.invocation_id, waiter.generation::bigint
            FROM unnest(seqs) WITH ORDINALITY AS over (seq, place)
                INNER JOIN perdure.watch ON watch.target = over.seq
                INNER JOIN perdure.invocation AS waiter ON waiter.seq = watch.watcher
            WHERE over.seq = ANY(ending) AND watch.watcher = ANY(told)
            ORDER BY over.place, watch.watch_id;
        END IF;
        DELETE FROM perdure.watch WHERE target = ANY(ending);
        UPDATE perdure.foreign_watcher SET ended = TRUE
        FROM unnest(ids, generations, seqs) AS over (id, generation, seq)
        WHERE target_id = over.id AND target_generation = over.generation
            AND over.seq = ANY(ending);
        DELETE FROM perdure.inbox WHERE seq = ANY(ending);
    END IF;

    -- The rows themselves. A suspension meets what is unread by now, also by this batch.
    RETURN QUERY
    UPDATE perdure.invocation SET
        state = next.state,
        owner = CASE WHEN next.fate IS NULL THEN invocation.owner ELSE '' END,
        lease_until = CASE WHEN next.fate IS NULL THEN invocation.lease_until END,
        wake_at = CASE WHEN next.state = 'waiting' THEN next.wake_at END,
        ready_since = CASE
            WHEN next.fate IN ('suspend', 'retry', 'release') THEN store_now
            ELSE invocation.ready_since
        END,
        head = next.head,
        head_hash = CASE
            WHEN next.head > invocation.head THEN next.head_hash
            ELSE invocation.head_hash
        END,
        last_token = next.token,
        attempts = invocation.attempts + CASE WHEN next.fate = 'retry' THEN 1 ELSE 0 END,
        crashes = CASE next.reset WHEN 1 THEN 0 ELSE invocation.crashes END,
        finished_at = CASE WHEN next.fate = 'finish' THEN store_now END,
        reason = coalesce(next.reason, ''),
        outcome = next.outcome
    FROM (
        SELECT
            asked.*,
            CASE asked.fate WHEN 'retry' THEN store_now + asked.moment ELSE asked.moment END
                AS wake_at,
            CASE
                WHEN asked.fate IS NULL THEN 'running'
                WHEN asked.fate IN ('finish', 'stop') THEN asked.new_state
                WHEN asked.fate = 'release' THEN 'ready'
                WHEN asked.fate = 'retry' AND asked.moment > 0 THEN 'waiting'
                WHEN asked.fate = 'retry' THEN 'ready'
                WHEN asked.moment <= store_now
                    OR EXISTS (SELECT FROM perdure.inbox WHERE inbox.seq = asked.seq)
                    THEN 'ready'
                ELSE 'waiting'
            END AS state
        FROM unnest(
            seqs, verdicts, new_heads, head_hashes, tokens, resets, fates, ends, moments, outcomes,
            reasons
        ) WITH ORDINALITY AS asked (
            seq, verdict, head, head_hash, token, reset, fate, new_state, moment, outcome, reason,
            place
        )
        WHERE asked.verdict = ''
    ) AS next
    WHERE invocation.seq = next.seq
    RETURNING next.place, next.state, NULL::text, NULL::bigint;
    RETURN QUERY
    SELECT given.place, given.verdict, NULL::text, NULL::bigint
    FROM unnest(verdicts) WITH ORDINALITY AS given (verdict, place)
    WHERE given.verdict <> '';
END
$$;
