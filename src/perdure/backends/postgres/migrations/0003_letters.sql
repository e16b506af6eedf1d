-- min_reader: 3
-- min_writer: 3
-- Letters: rows of the inbox with content, and the ids that were accepted. A program that does not
-- know of them would take one for the end of an invocation.

ALTER TABLE perdure.inbox
    ADD COLUMN name text,
    ADD COLUMN letter_id text COLLATE "C",
    ADD COLUMN body bytea;

-- `seq` is that of the receiver. What is here was accepted, delivered or not.
CREATE TABLE perdure.letter (
    seq bigint NOT NULL,
    letter_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, letter_id)
);
