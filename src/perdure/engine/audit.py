"""The auditor: walks a store that may be in use and names every invariant that is broken.

Reads only, one invocation at a time, each with its journal as of one commit; so memory is bounded
by the longest journal, and what is merely under way is never taken for damage. It decides and
repairs nothing. `docs/invariants.md` tells what each invariant means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import msgspec

from perdure.backends.audit import CHECKS, Auditable, Slots, Subject
from perdure.backends.base import Backend, InvocationRecord
from perdure.backends.limits import QueueLimits
from perdure.backends.server import Spread
from perdure.core.entries import Entry, EntryKind, verify_chain
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.core.reading import read_memo
from perdure.engine.baseline import Baseline
from perdure.engine.outcome import end_digest, read_body, recorded_outcome
from perdure.errors import ConfigurationError, DeserializationError, JournalCorrupted

VIOLATIONS_MAX = 1_000
"""Violations that a report names; more are only counted."""

_PAGE = 200
_WITH_END = frozenset(
    {InvocationState.COMPLETED, InvocationState.FAILED, InvocationState.CANCELLED}
)


class Violation(msgspec.Struct, frozen=True):
    """One invariant that does not hold.

    Attributes:
        invariant: its number, such as "I5".
        key: `id#generation`, a queue, or "" where nothing has a name.
    """

    invariant: str
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        """One sentence for people."""
        where = f"{self.invariant} {self.key or 'the store'}"
        return f"{where}: found {self.found}; expected {self.expected}."


class Report(msgspec.Struct, frozen=True):
    """What an audit found. `unnamed` counts the violations beyond `VIOLATIONS_MAX`."""

    facts: dict[str, int]
    violations: tuple[Violation, ...]
    unnamed: int


def audit(
    backend: Backend,
    limits: Mapping[str, QueueLimits] | None = None,
    *,
    app: str = "",
    is_gone: Callable[[str], bool] = lambda _: False,
    baseline: Baseline | None = None,
) -> Report:
    """Look at everything in the store once.

    Args:
        limits: by queue, as the code of `app` declares them; None when that is not known.
        is_gone: whether an owner is known to be dead; its leases hold no slot.
        baseline: what an earlier audit saw; nothing final in it may have changed.

    Raises:
        ConfigurationError: this backend cannot be audited, or the baseline is of another store.
        BackendError: it cannot be read.
    """
    if not isinstance(backend, Auditable):
        raise ConfigurationError(
            f"{type(backend).__name__} cannot be audited; name a database that several processes "
            "can open."
        )
    facts: Counter[str] = Counter({"invocations": 0, "entries": 0})
    violations: list[Violation] = []
    unnamed = 0
    for found in _violations(backend, facts, baseline):
        if len(violations) < VIOLATIONS_MAX:
            violations.append(found)
        else:
            unnamed += 1
    if limits is not None:
        violations += over_limits(backend.audit_slots, app, limits, is_gone)
    return Report(dict(facts), tuple(violations), unnamed)


def _violations(
    backend: Backend, facts: Counter[str], baseline: Baseline | None
) -> Iterator[Violation]:
    assert isinstance(backend, Auditable)
    for check in CHECKS:
        for row in backend.audit_findings(check.name, VIOLATIONS_MAX):
            key = f"{row.invocation_id}#{row.generation}" if row.invocation_id else ""
            yield Violation(check.invariant, key, row.found, check.expected)
        facts["checks"] += 1
    after = 0
    while page := backend.audit_page(after, _PAGE):
        for number in page:
            subject = backend.audit_subject(number)
            if subject is not None:
                facts["invocations"] += 1
                facts["entries"] += len(subject.entries)
                yield from broken(subject)
                yield from _missing_relatives(backend, subject)
                if baseline is not None:
                    for found, expected in baseline.changed(number, subject):
                        yield Violation("I3", _text(subject.record.key), found, expected)
        after = page[-1]
    if baseline is not None:
        for key in baseline.gone():
            yield Violation("I1", key, "no such invocation", "what was there before")


def broken(subject: Subject) -> Iterator[Violation]:
    """What is wrong with one invocation by itself."""
    record, entries = subject.record, subject.entries
    key = _text(record.key)
    positions = [entry.position for entry in entries]
    if positions != list(range(record.head)):
        found = f"{len(positions)} entries at positions {_shortened(positions)}"
        yield Violation("I4", key, found, f"{record.head} entries at positions from 0")
        return
    if record.kind == "task" and record.head:
        yield Violation("I4", key, f"a task with {record.head} entries", "no journal")
    try:
        seal = verify_chain(record.key, record.seed, entries, record.head)
        if record.head and seal != record.head_hash:
            found = f"the seal {record.head_hash.hex()} in the row"
            yield Violation("I4", key, found, f"the seal of the last entry, {seal.hex()}")
    except JournalCorrupted as error:
        yield Violation("I19", key, str(error), "the bytes that were sealed")
    try:
        recorded_outcome(record)
    except JournalCorrupted as error:
        yield Violation("I19", key, str(error), "the bytes that were sealed")
    yield from _wrong_epochs(subject)
    yield from _wrong_end(subject)
    yield from _wrong_children(subject)


def _wrong_epochs(subject: Subject) -> Iterator[Violation]:
    record = subject.record
    last, tokens = 1, dict[bytes, int]()
    for entry in subject.entries:
        where = f"epoch {entry.epoch} at position {entry.position}"
        if entry.epoch < last:
            yield Violation("I5", _text(record.key), where, f"epoch {last} or a later one")
        if tokens.setdefault(entry.token, entry.epoch) != entry.epoch:
            yield Violation("I6", _text(record.key), f"a token used again in {where}", "a new one")
        last = max(last, entry.epoch)
    if subject.entries and last > record.epoch:
        found = f"entries of epoch {last}"
        yield Violation("I5", _text(record.key), found, f"none after the row's {record.epoch}")


def _wrong_end(subject: Subject) -> Iterator[Violation]:
    """One end of the root, last in the journal, of the outcome in the row; none while it lives."""
    record = subject.record
    if record.kind != "workflow":
        return
    ends = [entry for entry in subject.entries if entry.kind == EntryKind.END and not entry.scope]
    key, count = _text(record.key), int(record.state in _WITH_END)
    if record.state is InvocationState.CANCELLED and not record.head:
        count = 0  # before anybody began it
    if len(ends) != count:
        found = f"{len(ends)} ends in the journal, state {record.state.value}"
        yield Violation("I2", key, found, f"{count} ends")
    elif ends and ends[0] is not subject.entries[-1]:
        found = f"entries after the end at position {ends[0].position}"
        yield Violation("I18", key, found, "the end last")
    elif ends and (ends[0].name != record.state.value or not _fits(record, ends[0])):
        found = f"an end {ends[0].name!r} of another outcome"
        yield Violation("I2", key, found, f"the outcome in the row, {record.state.value!r}")


def _fits(record: InvocationRecord, end: Entry) -> bool:
    if record.outcome is None:
        return True  # `audit_outcomes` tells of that
    try:
        failed = record.state is not InvocationState.COMPLETED
        return end.body == end_digest(record.outcome, failed=failed)
    except DeserializationError:
        return False


def started(entry: Entry) -> InvocationKey | None:
    """The invocation whose start this entry records."""
    if entry.kind == EntryKind.MEMO:
        return InvocationKey(read_memo(entry), 1)
    if entry.kind == EntryKind.START:
        members = read_body(entry.body)
        return InvocationKey(members.id, members.generation) if members.id else None
    return None


def _started(subject: Subject) -> Iterator[tuple[int, InvocationKey]]:
    for entry in subject.entries:
        try:
            child = started(entry)
        except (JournalCorrupted, msgspec.MsgspecError):
            continue  # its seal is broken as well, and that is told
        if child is not None:
            yield entry.position, child


def _wrong_children(subject: Subject) -> Iterator[Violation]:
    """Children that the journal does not know. Those of a task have no entry to be known by."""
    if subject.record.kind != "workflow" or not subject.children:
        return
    known = {child for _, child in _started(subject)}
    for child in subject.children:
        if child not in known:
            parent = _text(subject.record.key)
            yield Violation("I11", _text(child), f"no entry of its start in {parent}", "one entry")


def _missing_relatives(backend: Backend, subject: Subject) -> Iterator[Violation]:
    """Starts without the invocation. Rows are never deleted, so a later look is as good."""
    children = set(subject.children)
    for position, child in _started(subject):
        if child not in children and backend.read(*child) is None:
            found = f"a start of {_text(child)} at position {position} and no such invocation"
            yield Violation("I11", _text(subject.record.key), found, "the child of that start")
    if isinstance(backend, Spread):
        yield from _missing_parents(backend, subject.record)


def _missing_parents(backend: Backend, record: InvocationRecord) -> Iterator[Violation]:
    """What `audit_orphans` cannot tell where the parent may live on another server."""
    for what, key in (("parent", record.parent), ("root", record.root)):
        if key is not None and backend.read(*key) is None:
            found = f"a {what} {_text(key)} and no such invocation"
            yield Violation("I11", _text(record.key), found, f"the {what} that the row names")


def over_limits(
    look: Callable[[], list[Slots]],
    app: str,
    limits: Mapping[str, QueueLimits],
    is_gone: Callable[[str], bool],
) -> Iterator[Violation]:
    """Queues and keys with more live leases than they may have, in each of two looks."""
    first = _over(look(), app, limits, is_gone)
    if not first:
        return
    second = _over(look(), app, limits, is_gone)
    for place in sorted(first.keys() & second.keys()):
        running, limit = second[place]
        yield Violation("I17", place, f"{running} live leases", f"at most {limit}")


def _over(
    slots: list[Slots],
    app: str,
    limits: Mapping[str, QueueLimits],
    is_gone: Callable[[str], bool],
) -> dict[str, tuple[int, int]]:
    queues: Counter[tuple[int, str]] = Counter()
    keys: Counter[tuple[int, str, str]] = Counter()
    for slot in slots:
        if slot.app == app and slot.queue in limits and not is_gone(slot.owner):
            queues[slot.server, slot.queue] += slot.running
            if slot.limit_key:
                keys[slot.server, slot.queue, slot.limit_key] += slot.running
    found: dict[str, tuple[int, int]] = {}
    for (server, queue), running in queues.items():
        limit = limits[queue].concurrency
        if limit is not None and running > limit:
            found[_place(server, queue)] = (running, limit)
    for (server, queue, limit_key), running in keys.items():
        limit = limits[queue].key_concurrency
        if running > limit:
            found[f"{_place(server, queue)}, key {limit_key}"] = (running, limit)
    return found


def _place(server: int, queue: str) -> str:
    return f"server {server}, queue {queue}" if server else f"queue {queue}"


def _text(key: InvocationKey) -> str:
    return f"{key.invocation_id}#{key.generation}"


def _shortened(positions: list[int]) -> str:
    shown = ", ".join(map(str, positions[:8]))
    return f"{shown}, ..." if len(positions) > 8 else shown or "none"
