"""Letters in PostgreSQL, inside an open transaction."""

from __future__ import annotations

from perdure.backends.letters import Letter, Sent
from perdure.backends.postgres.store import Transaction
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL


def send(transaction: Transaction, key: InvocationKey, letter: Letter) -> Sent:
    """Put a letter into an inbox, once for its id, and wake who waits."""
    row = transaction.row("receiver", {"id": key.invocation_id, "generation": key.generation})
    if row is None:
        return Sent.MISSING
    seq, state = row
    if state in TERMINAL:
        known = transaction.row("was_accepted", (seq, letter.letter_id))
        return Sent.ENDED if known is None else Sent.REPEATED
    if not transaction.change("accept", (seq, letter.letter_id)):
        return Sent.REPEATED
    _put(transaction, seq, letter)
    transaction.later("wake", {"seqs": [seq]})
    return Sent.ACCEPTED


def post(transaction: Transaction, seq: int, letter: Letter) -> None:
    """Put a letter that cannot have been sent before."""
    transaction.later("accept", (seq, letter.letter_id))
    _put(transaction, seq, letter)


def _put(transaction: Transaction, seq: int, letter: Letter) -> None:
    transaction.later("post", (seq, letter.kind, letter.name, letter.letter_id, letter.body))
