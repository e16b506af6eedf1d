"""One workflow's journal as replay sees it: what was recorded, in which order, what is pending.

Pure: entries in, matches and drafts out. It never reads a clock and never stores anything. The
rule for every command: `begin` compares it with what the journal holds at the same place; what is
found is returned, what is not found is new, and what differs raises `Divergence`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from perdure.core.divergence import describe_leftover, describe_mismatch, describe_surplus
from perdure.core.entries import (
    COMMANDS,
    DELIVERIES,
    FORMAT,
    NOTES,
    Entry,
    EntryKind,
    genesis,
    seal_of,
    verify_chain,
)
from perdure.core.identity import InvocationKey
from perdure.core.reading import DrawBlock, Meta, read_block, read_memo, read_meta
from perdure.core.scope import DRAW_KINDS, DrawValue, Scope
from perdure.errors import Divergence, JournalCorrupted

HELD_MAX = 4_096
HELD_BYTES_MAX = 256 * 1024
"""What is held back (draws, outcomes of pure tasks) before it must be made durable although nothing
else asks for it: bounds one block, one commit, and what a crash can make run again."""


_DRAWS = b'"draws"'
"""How the member is written. A line that holds these letters has its quotes escaped."""

_encode = msgspec.json.Encoder().encode


class Command(msgspec.Struct, eq=False):
    """A command as the workflow code asks for it now, and what the journal has for it.

    Attributes:
        place: scope path and ordinal: the identity of the command within the workflow.
        recorded: the entry at this place, already compared, or None if it is new.
        notes: entries about this command (`NOTES`), in order.
    """

    kind: EntryKind
    scope: Scope
    ordinal: int
    place: tuple[str, int]
    key: str
    name: str
    meta: bytes = b""
    recorded: Entry | None = None
    notes: Sequence[Entry] = ()


class Draft(msgspec.Struct, frozen=True):
    """An entry that has no position yet: its members from `kind` to `at`, in their order."""

    kind: str
    scope: str
    ordinal: int
    key: str
    name: str
    digest: bytes
    body: bytes
    meta: bytes
    at: int


class Journal:
    """The recorded past of one workflow and the drafts of its next append.

    Attributes:
        head: entries that are durable.
        seal: chain value at the head.
        deliveries: durable deliveries that the workflow code has not seen yet, in order.
        end: the entry that ended the workflow, if it is finished.
        memos: ids of the invocations of `execute_task`, by key.
        unclaimed_memos: those of earlier runs that this one has not asked for yet.
        observed: something from outside is staged, to be durable before any task body starts.
        firm: something is staged that may not be held back, so its delivery needs a commit.
        deferred: the outcome of a pure task is not durable yet.
    """

    def __init__(
        self, key: InvocationKey, seed: bytes, entries: Sequence[Entry], head: int
    ) -> None:
        """Check the chain and index the entries.

        Raises:
            JournalCorrupted: the chain is broken or an entry cannot be read.
        """
        self.key = key
        self.seed = seed
        self.head = head
        self.seal = (
            verify_chain(key, seed, entries, head) if entries or head else genesis(key, seed)
        )
        self.deliveries: deque[Entry] = deque()
        self.end: Entry | None = None
        self.memos: dict[str, str] = {}
        self.unclaimed_memos: dict[str, Entry] = {}
        self._scopes: dict[str, Scope] = {}
        self._commands: dict[str, list[Entry]] = {}
        self._notes: dict[tuple[str, int], list[Entry]] = {}
        self._ends: dict[str, Entry] = {}
        self._blocks: dict[str, list[DrawBlock]] = {}
        self._drafts: list[Draft] = []
        self._fresh = 0
        self._fresh_bytes = 0
        self._fresh_scopes: dict[str, Scope] = {}
        self._held = 0
        self.observed = self.firm = self.deferred = False
        self._index_all(entries)

    # --- loading --------------------------------------------------------------------------------

    def _index_all(self, entries: Sequence[Entry]) -> None:
        """Sort the entries by what they are for; nearly all of them are commands."""
        path: str | None = None
        commands: list[Entry] = []
        for entry in entries:
            kind = entry.kind
            if kind in COMMANDS:
                if entry.scope != path:
                    path = entry.scope
                    commands = self._commands.setdefault(path, [])
                commands.append(entry)
                if entry.ordinal != len(commands):
                    raise self._hole(entry, len(commands))
            else:
                self._index(entry)
            if kind in DELIVERIES:
                self.deliveries.append(entry)

    def _index(self, entry: Entry) -> None:
        kind = entry.kind
        if kind == EntryKind.DRAWS:
            self._blocks.setdefault(entry.scope, []).append(read_block(entry))
        elif kind == EntryKind.MEMO:
            self.memos[entry.key] = read_memo(entry)
            self.unclaimed_memos[entry.key] = entry
        elif kind in NOTES:
            self._notes.setdefault((entry.scope, entry.ordinal), []).append(entry)
        elif kind == EntryKind.END:
            self._ends[entry.scope] = entry
            if entry.scope == "":
                self.end = entry
        elif kind not in DELIVERIES:
            raise JournalCorrupted(
                f"Journal of {self.key.invocation_id!r}: position {entry.position} has the unknown "
                f"kind {kind!r}. A newer perdure wrote it; run this workflow with that version."
            )

    def _hole(self, entry: Entry, expected: int) -> JournalCorrupted:
        return JournalCorrupted(
            f"Journal of {self.key.invocation_id!r}: position {entry.position} holds command "
            f"{entry.ordinal} of scope {entry.scope!r}, expected {expected}."
        )

    # --- scopes ---------------------------------------------------------------------------------

    def open_scope(self, path: str, clock: int) -> Scope:
        """Make the scope at `path`, filled with the draws that the journal has for it."""
        scope = Scope(path, self.seed, clock, self._count_fresh)
        scope.recorded = self._commands.get(path, ())
        for block in self._blocks.get(path, ()):
            for kind, (_, values) in block.items():
                scope.sequence(kind).recorded.extend(values)
        self._scopes[path] = scope
        return scope

    def scope(self, path: str) -> Scope:
        """The scope opened at `path` by this attempt."""
        return self._scopes[path]

    def unfinished_body(self) -> str:
        """The task whose body was in flight at the last crash, as text; "" when none is known."""
        for place, notes in reversed(self._notes.items()):
            entry = notes[-1]
            ended = len(self._commands.get(place[0], ())) >= place[1]
            if entry.kind == EntryKind.BEGAN and not ended:
                return f"the body of task {entry.name!r} (as {entry.key!r})"
        return ""

    def _count_fresh(self, scope: Scope, size: int) -> None:
        self._fresh += 1
        self._fresh_bytes += size
        self._fresh_scopes[scope.path] = scope

    @property
    def full(self) -> bool:
        """True when what is held back must be made durable before more is."""
        return self._fresh >= HELD_MAX or self._fresh_bytes >= HELD_BYTES_MAX

    # --- commands -------------------------------------------------------------------------------

    def begin(
        self,
        scope: Scope,
        kind: EntryKind,
        prefix: str,
        name: str,
        line: Callable[[], str],
    ) -> Command:
        """Count the next command of `scope` and compare it with the journal.

        Its arguments are not compared here; the caller does it, for it can look into them.

        Args:
            prefix: sequence of the key: the operation name, such as "task" or a record's name.
            name: what the command is about (registered name, id, or the operation name).
            line: gives `file:line` of the asking code; called only for what is new or differs.

        Raises:
            Divergence: kind, key, name or draw counts differ, or the scope had ended here.
        """
        scope.commands = ordinal = scope.commands + 1
        path = scope.path
        scope.numbers[prefix] = sequence = scope.numbers.get(prefix, 0) + 1
        key = f"{path}:{prefix}:{sequence}" if path else f"{prefix}:{sequence}"
        draws = scope.counts() if scope.sequences else {}
        command = Command(kind, scope, ordinal, (path, ordinal), key, name)
        if ordinal <= len(scope.recorded):
            command.recorded = entry = scope.recorded[ordinal - 1]
            if (
                (entry.kind != kind and not _dropped(entry, kind))
                or entry.name != name
                or entry.key != key
                or ((draws or _DRAWS in entry.meta) and read_meta(entry).draws != draws)
            ):
                raise Divergence(
                    describe_mismatch(self.key, entry, read_meta(entry), command, draws, line())
                )
        elif path in self._ends:
            raise Divergence(describe_surplus(self.key, self._ends[path], command, line()))
        else:
            command.meta = _encode(Meta(draws=draws, line=line()))
        if self._notes:
            command.notes = self._notes.get(command.place, ())
        return command

    def ahead(self, scope: Scope) -> Entry | None:
        """The entry that the next command of `scope` will meet, not compared yet."""
        recorded = scope.recorded
        return recorded[scope.commands] if scope.commands < len(recorded) else None

    def take(self, entry: Entry) -> bool:
        """Take this entry off the deliveries if it is the next one; False if it is not."""
        deliveries = self.deliveries
        if not deliveries or deliveries[0] is not entry:
            return False
        deliveries.popleft()
        return True

    def take_answer(self, place: tuple[str, int]) -> Entry | None:
        """Take the next delivery if it answers the command at `place`; None if it does not."""
        deliveries = self.deliveries
        if not deliveries:
            return None
        head = deliveries[0]
        if head.kind == EntryKind.DONE or head.ordinal != place[1] or head.scope != place[0]:
            return None
        return deliveries.popleft()

    def ordinal(self, scope: Scope, prefix: str) -> int:
        """How many commands of this sequence the scope has asked for."""
        return scope.numbers.get(prefix, 0)

    def line_of(self, entry: Entry) -> str:
        """`file:line` that asked for this entry when it was recorded."""
        return read_meta(entry).line

    def check_leftover(self, scope: Scope) -> None:
        """A scope is about to end: everything recorded for it must have been asked for.

        Raises:
            Divergence: the journal holds further commands of this scope.
        """
        entry = self.ahead(scope)
        if entry is not None:
            raise Divergence(describe_leftover(self.key, entry, read_meta(entry), scope))

    def end_scope(self, scope: Scope, name: str, body: bytes, at: int) -> bool:
        """Stage the end of a scope, or compare it with the recorded end. True if it is new.

        Raises:
            Divergence: commands are left over, or draw counts or outcome differ.
        """
        self.check_leftover(scope)
        counts = scope.counts()
        recorded = self._ends.get(scope.path)
        if recorded is None:
            meta = _encode(Meta(draws=counts))
            draft = Draft(EntryKind.END, scope.path, 0, "end", name, b"", body, meta, at)
            self.stage(draft, held=scope.path != "")
            return True
        then = read_meta(recorded).draws
        if then != counts or recorded.name != name or recorded.body != body:
            raise Divergence(
                f"Workflow {self.key.invocation_id!r}: scope {scope.path or 'root'!r} ended as "
                f"{recorded.name!r} after the draws {then}; now it ends as {name!r} after "
                f"{counts}, or with another outcome.\n  recorded: {recorded.body[:200]!r}\n"
                f"  now:      {body[:200]!r}\n"
                "Something in the workflow function is not deterministic."
            )
        return False

    # --- appending ------------------------------------------------------------------------------

    def stage(self, draft: Draft, *, observed: bool = False, held: bool = False) -> None:
        """Keep an entry for the next append.

        Args:
            observed: its value came from outside (record, token, ...), so it must be durable
                before a task body starts.
            held: it may be held back: the outcome of a pure task, or the end of a branch.
        """
        self._drafts.append(draft)
        if observed:
            self.observed = True
        if not held:
            self.firm = True
            return
        self._fresh += 1
        self._fresh_bytes += len(draft.body)
        if draft.kind == EntryKind.TASK:
            self.deferred = True

    def unstage(self) -> None:
        """Take the newest draft back; for a start whose id turned out to be taken."""
        self._drafts.pop()

    @property
    def dirty(self) -> bool:
        """True when something waits to be appended."""
        return bool(self._drafts) or self._fresh > 0

    def hold(self, now: Callable[[], int]) -> None:
        """Go on as if all that is staged had been appended now: queue its deliveries.

        The next append holds the same entries in the same order as if there had been one here.

        Args:
            now: gives the time of the draws among them; called only if there are any.
        """
        if self._fresh_scopes:
            self._drafts[self._held :] = [*self._draw_drafts(now()), *self._drafts[self._held :]]
            self._forget_fresh()
        for position, draft in enumerate(self._drafts[self._held :], self.head + self._held):
            if draft.kind in DELIVERIES:
                parts: tuple[Any, ...] = (position, *astuple(draft), 0, b"", b"")
                self.deliveries.append(Entry(*parts))
        self._held = len(self._drafts)

    def seal_pending(self, epoch: int, token: bytes, now: Callable[[], int]) -> tuple[Entry, ...]:
        """The entries of the next append, sealed from the head on. Nothing is forgotten yet.

        Args:
            now: as in `hold`.
        """
        drafts, held = self._drafts, self._held
        if self._fresh_scopes:
            drafts = [*drafts[:held], *self._draw_drafts(now()), *drafts[held:]]
        entries: list[Entry] = []
        seal = self.seal
        for position, draft in enumerate(drafts, self.head):
            told = (position, *astuple(draft), epoch)
            seal = seal_of(seal, (*told, FORMAT, ""))
            parts: tuple[Any, ...] = (*told, token, seal)
            entries.append(Entry(*parts))
        return tuple(entries)

    def _draw_drafts(self, now: int) -> list[Draft]:
        drafts: list[Draft] = []
        for path, scope in self._fresh_scopes.items():
            block = {
                kind: (sequence.count - len(sequence.fresh) + 1, sequence.fresh)
                for kind, sequence in scope.sequences.items()
                if sequence.fresh
            }
            body = _encode(block)
            drafts.append(Draft(EntryKind.DRAWS, path, 0, "draws", "", b"", body, b"{}", now))
        return drafts

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """The append is durable: move the head and queue its deliveries."""
        self._drafts.clear()
        self.observed = self.firm = self.deferred = False
        self._forget_fresh()
        self._fresh = self._fresh_bytes = 0
        if entries:
            self.head = entries[-1].position + 1
            self.seal = entries[-1].checksum
        news = entries[self._held :] if self._held else entries
        self._held = 0
        self.deliveries.extend([entry for entry in news if entry.kind in DELIVERIES])

    def _forget_fresh(self) -> None:
        for scope in self._fresh_scopes.values():
            for sequence in scope.sequences.values():
                if sequence.fresh:
                    sequence.fresh = []
        self._fresh_scopes.clear()


def _dropped(entry: Entry, kind: EntryKind) -> bool:
    return entry.kind == EntryKind.DROPPED and kind == EntryKind.TASK


def find_value(entries: Sequence[Entry], key: str) -> Entry | DrawValue | None:
    """What a journal holds under `key`: a draw's value, an entry, or None.

    Keys of draws are looked up inside their blocks.
    """
    path, local = ("", key) if not key.startswith("/") else key.partition(":")[::2]
    operation, _, number = local.rpartition(":")
    if operation in DRAW_KINDS and number.isdecimal():
        return _find_draw(entries, path, operation, int(number))
    return next((e for e in entries if e.key == key and e.kind in _VALUE_KINDS), None)


def _find_draw(entries: Sequence[Entry], path: str, kind: str, ordinal: int) -> DrawValue | None:
    for entry in entries:
        if entry.kind == EntryKind.DRAWS and entry.scope == path:
            first, values = read_block(entry).get(kind, (0, []))
            if first <= ordinal < first + len(values):
                return values[ordinal - first]
    return None


def find_counter(entries: Sequence[Entry], operation: str) -> int:
    """The highest sequence of an operation in the root scope; 0 if there is none."""
    if operation in DRAW_KINDS:
        blocks = (read_block(e) for e in entries if e.kind == EntryKind.DRAWS and not e.scope)
        return sum(len(block[operation][1]) for block in blocks if operation in block)
    prefix = f"{operation}:"
    return sum(
        e.key.startswith(prefix) and e.key[len(prefix) :].isdecimal() and e.kind in COMMANDS
        for e in entries
    )


_VALUE_KINDS = frozenset({EntryKind.RECORD, EntryKind.TASK, EntryKind.MEMO, EntryKind.START})
