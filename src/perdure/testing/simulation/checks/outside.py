"""What somebody outside of a workflow was told is durable, and the same for everybody (I7, I12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.simulation.checks.broken import Broken
from perdure.testing.simulation.store import Store
from perdure.testing.simulation.threads import Crashed


class Outside:
    """Compares what clients get with the journals, at the moment at which they get it."""

    def __init__(
        self,
        store: Store,
        fail: Callable[[BaseException], None],
        accepted: Callable[[InvocationKey, str], bool],
    ) -> None:
        """Nobody was told anything.

        Args:
            fail: told of what breaks.
            accepted: whether an invocation was asked for this, or has done it.
        """
        self._store = store
        self._fail = fail
        self._accepted = accepted
        self._unanswered: list[tuple[str, str]] = []

    def answered(self, id_: str, letter: str, answer: str) -> None:
        """An update of this workflow was answered."""
        bodies = [each.body for each in self._entries(id_, EntryKind.ANSWER) if each.name == letter]
        if len(bodies) != 1 or answer.encode() not in bodies[0] or not answer.startswith(letter):
            self._break("I7", f"{id_} answered {letter!r} with {answer!r}, recorded are {bodies}")

    def gave(self, id_: str, value: object) -> None:
        """Somebody who waited for this workflow got its result."""
        row = self._store.rows()[InvocationKey(id_, 1)]
        if row.state is not InvocationState.COMPLETED or row.outcome is None:
            self._break("I7", f"{id_} gave {value!r} and is {row.state}")
        elif msgspec.json.decode(row.outcome) != value:
            self._break("I7", f"{id_} gave {value!r}, on record is {row.outcome!r}")

    def failed(self, id_: str, error: Exception) -> None:
        """Somebody who waited for this workflow was told that it had failed."""
        row = self._store.rows()[InvocationKey(id_, 1)]
        if row.state not in TERMINAL or row.state is InvocationState.COMPLETED:
            self._break("I7", f"{id_} raised {error!r} and is {row.state}")

    def promised(self, id_: str, what: str) -> None:
        """Somebody was told that this workflow is terminated, or will be cancelled or paused."""
        key = InvocationKey(id_, 1)
        row = self._store.rows()[key]
        if row.state not in TERMINAL and not self._accepted(key, what):
            self._break("I18", f"{id_} is {row.state}: nobody asked it to {what}, as was said")

    def unanswered(self, id_: str, letter: str) -> None:
        """An update will never be answered, as was said."""
        self._unanswered.append((id_, letter))

    def read(self, id_: str, number: int, value: str) -> None:
        """A reader got this value of the stream, as number so and so (from 1)."""
        published = self._entries(id_, EntryKind.PUBLISH)
        if number > len(published) or value.encode() not in published[number - 1].body:
            text = f"a reader of {id_} got {value!r} as number {number}, published is {published}"
            self._break("I7", text)

    def read_all(self, id_: str, count: int) -> None:
        """A reader was told that there is no more."""
        published = len(self._entries(id_, EntryKind.PUBLISH))
        if count != published:
            self._break("I12", f"a reader of {id_} got {count} values of {published}")

    def complete(self) -> None:
        """Every update has one answer at most, and none that was given up has one.

        Raises:
            Broken: something that must not be.
        """
        for key in self._store.rows():
            answers = Counter(each.name for each in self._entries(key[0], EntryKind.ANSWER))
            if answers and max(answers.values()) > 1:
                raise Broken("I12", f"{key} answered twice: {answers}")
        for id_, letter in self._unanswered:
            if letter in [each.name for each in self._entries(id_, EntryKind.ANSWER)]:
                raise Broken("I12", f"{id_} was said never to answer {letter!r}, and did")

    def _entries(self, id_: str, kind: EntryKind) -> list[Entry]:
        entries = self._store.journal(InvocationKey(id_, 1))
        return [each for each in entries if each.kind == kind]

    def _break(self, invariant: str, text: str) -> None:
        self._fail(Broken(invariant, text))
        raise Crashed
