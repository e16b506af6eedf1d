-- min_reader: 3
-- min_writer: 6
-- Who writes is looked at in each transaction, and not only when it connects: a program that was
-- running when the schema went ahead of it is refused from then on. Each session says which schema
-- its program knows. Older programs, and people, say nothing and may go on.

-- For statements that write to the tables of which every transaction of ours writes to one. It sees
-- the handshake as it is once the statement has its lock on the table, and a migration holds a lock
-- that is in the way of that (hold_writers); so nothing that a program too old for it does is kept.
CREATE FUNCTION perdure.check_writer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    known text := current_setting('perdure.schema', true);
    found_version integer;
    needed integer;
BEGIN
    IF known <> '' THEN
        SELECT schema_version, min_writer INTO found_version, needed FROM perdure.meta;
        IF needed > known::integer THEN
            RAISE EXCEPTION USING
                ERRCODE = 'PD001',
                MESSAGE = format(
                    'has schema %s, which needs a perdure that knows schema %s to write it; '
                    'this one knows %s', found_version, needed, known
                );
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER check_writer BEFORE INSERT OR UPDATE ON perdure.invocation
FOR EACH STATEMENT EXECUTE FUNCTION perdure.check_writer();

CREATE TRIGGER check_writer BEFORE INSERT OR UPDATE ON perdure.register
FOR EACH STATEMENT EXECUTE FUNCTION perdure.check_writer();
