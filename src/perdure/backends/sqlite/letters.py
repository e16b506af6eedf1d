"""Letters in SQLite, inside an open transaction of a writer."""

from __future__ import annotations

import sqlite3

from perdure.backends.letters import Letter, Sent
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.rows import key_parameters
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL


def send(connection: sqlite3.Connection, key: InvocationKey, letter: Letter) -> Sent:
    """Put a letter into an inbox, once for its id, and wake who waits."""
    row = connection.execute(sql.RECEIVER, key_parameters(key)).fetchone()
    if row is None:
        return Sent.MISSING
    seq, state = row
    if connection.execute(sql.WAS_ACCEPTED, (seq, letter.letter_id)).fetchone():
        return Sent.REPEATED
    if state in TERMINAL:
        return Sent.ENDED
    post(connection, seq, letter)
    connection.execute(sql.WAKE, {"seq": seq})
    return Sent.ACCEPTED


def post(connection: sqlite3.Connection, seq: int, letter: Letter) -> None:
    """Put a letter that cannot have been sent before."""
    connection.execute(sql.ACCEPT, (seq, letter.letter_id))
    letters = (seq, letter.kind, letter.name, letter.letter_id, letter.body)
    connection.execute(sql.POST, letters)
