-- min_reader: 4
-- min_writer: 4
-- Letters: rows of the inbox with content, and the ids that were accepted. A program that does not
-- know of them would take one for the end of an invocation.

ALTER TABLE inbox ADD COLUMN name TEXT;
ALTER TABLE inbox ADD COLUMN letter_id TEXT;
ALTER TABLE inbox ADD COLUMN body BLOB;

-- `seq` is that of the receiver. What is here was accepted, delivered or not.
CREATE TABLE letter (
    seq INTEGER NOT NULL,
    letter_id TEXT NOT NULL,
    PRIMARY KEY (seq, letter_id)
) STRICT, WITHOUT ROWID;
