"""What a workflow waits for and what has arrived: routes deliveries to waits. Pure tables."""

from __future__ import annotations

from collections import defaultdict, deque

from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.effects import Wait
from perdure.engine.letters import CYCLE
from perdure.engine.outcome import read_body
from perdure.errors import Divergence

Place = tuple[str, int]


class Mailbox:
    """Waits by what satisfies them. Deliveries come in journal order, one at a time."""

    def __init__(self, key: InvocationKey) -> None:
        """Nothing waits, nothing has arrived."""
        self._key = key
        self._places: dict[Place, Wait] = {}
        self._sources: dict[InvocationKey, list[Wait]] = defaultdict(list)
        self._arrived: dict[InvocationKey, Entry] = {}
        self._receivers: dict[tuple[str, str], list[Wait]] = defaultdict(list)
        self._untaken: dict[tuple[str, str], deque[Entry]] = defaultdict(deque)
        self._abandoned: set[Place] = set()
        self._pauses: list[Wait] = []

    def add(self, wait: Wait) -> None:
        """Wait for this from now on; satisfied at once if it has arrived before."""
        if wait.source is not None:
            if (entry := self._arrived.get(wait.source)) is not None:
                _satisfy(wait, entry)
            else:
                self._sources[wait.source].append(wait)
        elif wait.letter is not None:
            if untaken := self._untaken[wait.letter]:
                _satisfy(wait, untaken.popleft())
            else:
                self._receivers[wait.letter].append(wait)
        elif wait.place is not None:
            self._places[wait.place] = wait
        else:
            self._pauses.append(wait)

    def abandon(self, wait: Wait) -> None:
        """Nobody waits for this any more. A delivery that still comes for it is ignored."""
        if wait.satisfied:
            return
        if wait.source is not None:
            _discard(self._sources[wait.source], wait)
        elif wait.letter is not None:
            _discard(self._receivers[wait.letter], wait)
        elif wait.place is not None:
            self._places.pop(wait.place, None)
            self._abandoned.add(wait.place)
        else:
            _discard(self._pauses, wait)

    def give_back(self, wait: Wait) -> None:
        """Who waited was cancelled before it saw its message: the next one takes it."""
        if wait.satisfied and wait.letter is not None and wait.delivery is not None:
            if waiting := self._receivers[wait.letter]:
                _satisfy(waiting.pop(0), wait.delivery)
            else:
                self._untaken[wait.letter].appendleft(wait.delivery)

    def route(self, entry: Entry) -> None:
        """Give a delivery to whoever waits for it.

        Raises:
            Divergence: it answers a command that the code has not asked for.
        """
        if entry.kind == EntryKind.DONE:
            source = InvocationKey(entry.name, read_body(entry.body).generation)
            if entry.key != CYCLE:  # it may end yet, for who waits for it again
                self._arrived[source] = entry
            for wait in self._sources.pop(source, ()):
                _satisfy(wait, entry)
            return
        if entry.kind in (EntryKind.MESSAGE, EntryKind.UPDATE):
            letter = (entry.kind, entry.name)
            if waiting := self._receivers[letter]:
                _satisfy(waiting.pop(0), entry)
            else:
                self._untaken[letter].append(entry)
            return
        place = (entry.scope, entry.ordinal)
        if (found := self._places.pop(place, None)) is not None:
            _satisfy(found, entry)
        elif place not in self._abandoned:
            raise Divergence(
                f"Workflow {self._key.invocation_id!r} (generation {self._key.generation}) does "
                f"not replay: position {entry.position} of its journal delivers {entry.key!r} "
                f"({entry.name!r}), and the code has not asked for it by now. The workflow is "
                "parked and its journal is untouched. If the code was changed, bring the old order "
                "back for workflows that are under way; else something in the workflow function "
                "is not deterministic."
            )

    def knows(self, source: InvocationKey) -> bool:
        """Whether the end of this invocation has arrived."""
        return source in self._arrived

    def due_by(self, now: int) -> list[Wait]:
        """Timers whose time has come, earliest first."""
        waits = [wait for wait in self._timers() if wait.due is not None and wait.due <= now]
        return sorted(waits, key=lambda wait: wait.due or 0)

    def next_due(self) -> int | None:
        """When the next timer fires, or None without any."""
        return min((wait.due for wait in self._timers() if wait.due is not None), default=None)

    def _timers(self) -> list[Wait]:
        return [*self._pauses, *self._places.values()]

    @property
    def awaits_others(self) -> bool:
        """Whether something other than a timer is waited for."""
        return any(self._sources.values()) or any(self._receivers.values())

    @property
    def awaited_ends(self) -> tuple[InvocationKey, ...]:
        """The invocations that are waited for; empty if something else could come too."""
        if any(self._receivers.values()):
            return ()
        return tuple(source for source, waits in self._sources.items() if waits)

    def end_pause(self, wait: Wait) -> None:
        """A pause between attempts is over."""
        self._pauses.remove(wait)
        wait.satisfied = True
        if wait.wake is not None:
            wait.wake()


def _discard(waits: list[Wait], wait: Wait) -> None:
    if wait in waits:
        waits.remove(wait)


def _satisfy(wait: Wait, entry: Entry) -> None:
    wait.delivery = entry
    wait.satisfied = True
    if wait.wake is not None:
        wait.wake()
