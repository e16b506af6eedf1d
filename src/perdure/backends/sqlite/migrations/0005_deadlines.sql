-- min_reader: 4
-- min_writer: 5
-- Deadlines of workflows, to find what is past its own although nobody has ever claimed it. A
-- program that does not know of them would let such a workflow run on.

ALTER TABLE invocation ADD COLUMN deadline INTEGER;

CREATE INDEX invocation_deadline ON invocation (app, deadline)
    WHERE deadline IS NOT NULL AND state = 'ready' AND epoch = 0;
