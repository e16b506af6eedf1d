-- What a batch of commits does: one call of a function of ours (see migrations 4, 5 and 7), which
-- locks, decides and writes; and what a transaction does that tells a watcher of an end elsewhere.

-- name: apply_plain
-- Transitions that write nothing but entries and their own rows.
SELECT place, verdict, told_id, told_generation FROM perdure.commit(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s
);

-- name: apply
-- Transitions of any kind.
SELECT place, verdict, told_id, told_generation FROM perdure.commit(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
);

-- name: seize
-- One live row is taken from whoever has it, and ended or stopped.
SELECT verdict, told_id, told_generation FROM perdure.seize(
    %(id)s, %(generation)s, %(epoch)s, %(token)s, %(fate)s, %(state)s, %(outcome)s, %(reason)s
);

-- name: deliver
-- Something for workflows to read, in order.
INSERT INTO perdure.inbox (seq, kind, source_id, source_generation)
SELECT seq, 'done', source_id, source_generation
FROM unnest(%s::bigint[], %s::text[], %s::int[]) WITH ORDINALITY
    AS new (seq, source_id, source_generation, place)
ORDER BY place;
