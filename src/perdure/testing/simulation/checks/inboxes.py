"""Letters and the ends of others: none is lost, none comes twice (I12, I16)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from perdure.backends.base import InvocationRecord, Transition
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine.letters import CANCEL, MESSAGE, OWN_IDS, UPDATE
from perdure.engine.outcome import read_body
from perdure.testing.simulation.checks.broken import Broken

_NONE: Counter[InvocationKey] = Counter()
ASK = f"{OWN_IDS}cancel"
"""The id of a letter that asks for the end."""
_LETTERS = frozenset({EntryKind.MESSAGE, EntryKind.UPDATE})


class Inboxes:
    """Keeps account of what was accepted for whom, and of what was delivered."""

    def __init__(self) -> None:
        """Nothing was accepted."""
        self._accepted: dict[InvocationKey, Counter[str]] = {}
        self._ours: dict[InvocationKey, dict[str, int]] = {}
        """Of those, the ones that the workflow is to read."""
        self._delivered: dict[InvocationKey, Counter[str]] = {}
        self._watched: dict[InvocationKey, Counter[InvocationKey]] = {}
        self._told: dict[InvocationKey, Counter[InvocationKey]] = {}
        self._order: dict[InvocationKey, list[str]] = {}
        self._bodies: dict[InvocationKey, Counter[bytes]] = {}
        self._texts: dict[tuple[InvocationKey, str], bytes] = {}
        self._cancelled: Counter[InvocationKey] = Counter()

    def sent(self, key: InvocationKey, letter: Letter, sent: Sent) -> None:
        """A letter was answered."""
        accepted = self._accepted.setdefault(key, Counter())
        if sent is Sent.ACCEPTED:
            accepted[letter.letter_id] += 1
            if not letter.letter_id.startswith(OWN_IDS):
                ours = self._ours.setdefault(key, {})
                ours[letter.letter_id] = ours.get(letter.letter_id, 0) + 1
            if letter.kind in _LETTERS:
                self._order.setdefault(key, []).append(letter.letter_id)
                self._texts[key, letter.letter_id] = letter.body
                self._once(key, letter)
            if accepted[letter.letter_id] > 1:
                raise Broken("I12", f"{key} accepted {letter.letter_id!r} twice")
        elif sent is Sent.REPEATED and not accepted[letter.letter_id]:
            raise Broken("I12", f"{key} refused {letter.letter_id!r}, which it never accepted")

    def _once(self, key: InvocationKey, letter: Letter) -> None:
        """What a client sends is another text each time, whatever id it comes under."""
        bodies = self._bodies.setdefault(key, Counter())
        bodies[letter.body] += 1
        if bodies[letter.body] > 1 and b"self" not in letter.body:
            raise Broken("I12", f"{key} accepted {letter.body!r} twice, now as {letter.letter_id}")

    def started(self, key: InvocationKey, letters: Iterable[Letter]) -> None:
        """An invocation began with these letters."""
        for letter in letters:
            self.sent(key, letter, Sent.ACCEPTED)

    def committed(self, asked: Transition) -> None:
        """Somebody asked for the ends of others."""
        if asked.watches:
            self._watched.setdefault(asked.key, Counter()).update(asked.watches)

    def delivered(self, key: InvocationKey, entries: Sequence[Entry]) -> None:
        """These came into its journal."""
        for entry in entries:
            if entry.kind in _LETTERS:
                delivered = self._delivered.setdefault(key, Counter())
                order, number = self._order.get(key, []), delivered.total()
                if number >= len(order) or order[number] != entry.key:
                    raise Broken("I12", f"{key} got {entry} as number {number}, not in {order}")
                delivered[entry.key] += 1
                text = self._texts[key, entry.key]
                if bytes(read_body(entry.body).result) != text:
                    raise Broken("I12", f"{key} was sent {text!r}, and got {entry}")
            elif entry.kind == EntryKind.CANCEL:
                self._cancelled[key] += 1
                if self._cancelled[key] > 1:
                    raise Broken("I18", f"{key} was cancelled twice: {entry}")
            elif entry.kind == EntryKind.DONE:
                source = InvocationKey(entry.name, read_body(entry.body).generation)
                self._told.setdefault(key, Counter())[source] += 1

    def asked(
        self,
        row: InvocationRecord,
        entries: Sequence[Entry],
        rows: dict[InvocationKey, InvocationRecord],
    ) -> None:
        """A workflow recorded these: what it sent was accepted, and whom it cancelled hears it."""
        for entry in entries:
            if entry.kind != EntryKind.SEND or read_body(entry.body).error:
                continue
            id_, _, generation = entry.name.rpartition("#")
            target = InvocationKey(id_, int(generation))
            letter = derive_id(row.seed, "send", entry.scope, str(entry.ordinal))
            cancels = ":cancel:" in f":{entry.key}"  # its scope comes first, if it has one
            if cancels:
                there = rows[target].state in TERMINAL or self.was_asked(target, "cancel")
            else:
                there = letter in self._accepted.get(target, ())
            if not there:
                number = "I18" if cancels else "I12"
                raise Broken(number, f"{row.key} recorded {entry}, and nothing came to {target}")

    def balanced(
        self,
        row: InvocationRecord,
        unread: Sequence[InboxRow],
        rows: dict[InvocationKey, InvocationRecord],
    ) -> None:
        """What was accepted is unread or delivered, and nobody waits with unread letters."""
        key = row.key
        if row.state in TERMINAL:
            if unread:
                raise Broken("I16", f"{key} has ended, and its inbox holds {unread}")
            return
        if unread and row.state is InvocationState.WAITING:
            raise Broken("I12", f"{key} waits, and its inbox holds {unread}")
        self._letters(key, unread)
        self._ends(key, unread, rows)

    def _letters(self, key: InvocationKey, unread: Sequence[InboxRow]) -> None:
        accepted = self._accepted.get(key)
        if accepted is None and not unread:
            return
        asked = 0 if accepted is None else accepted[ASK]
        if (
            asked
            and not self._cancelled[key]
            and asked > sum(each.kind == CANCEL for each in unread)
        ):
            raise Broken("I18", f"{key} was asked to end, which is neither recorded nor to come")
        had = dict(self._delivered.get(key, {}))
        for each in unread:
            if each.letter is not None and each.letter.kind in (MESSAGE, UPDATE):
                had[each.letter.letter_id] = had.get(each.letter.letter_id, 0) + 1
        ours = self._ours.get(key, {})
        if had != ours:
            text = f"{key} accepted {ours}, and these were delivered or wait to be read: {had}"
            raise Broken("I12", text)

    def _ends(
        self,
        key: InvocationKey,
        unread: Sequence[InboxRow],
        rows: dict[InvocationKey, InvocationRecord],
    ) -> None:
        watched = self._watched.get(key)
        if watched is None:
            if unread and any(each.kind == "done" for each in unread):
                raise Broken("I12", f"{key} watches nobody, and its inbox holds {unread}")
            return
        told = self._told.get(key, _NONE)
        held = Counter(each.source for each in unread if each.kind == "done") if unread else _NONE
        for target, count in watched.items():
            row = rows.get(target)
            ended = row is None or row.state in TERMINAL
            if told[target] + held[target] != (count if ended else 0):
                text = f"asked {count} times for the end of {target}"
                raise Broken("I12", f"{key} {text}, was told {told[target]}, holds {held[target]}")

    def was_asked(self, key: InvocationKey, what: str) -> bool:
        """Whether a letter that asks for this was accepted."""
        letters = self._accepted.get(key, ())
        return any(each.startswith(f"{OWN_IDS}{what}") for each in letters)
