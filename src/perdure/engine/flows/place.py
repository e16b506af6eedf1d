"""What the operations share: where one stands, and how it counts, compares and stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from perdure.backends.base import NewInvocation
from perdure.core.divergence import describe_arguments
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command, Draft, Journal
from perdure.core.scope import Scope
from perdure.engine.effects import Call, Wait
from perdure.engine.outcome import Body, Outcome, Raised, Returned
from perdure.errors import Divergence, InternalError

MICROSECONDS = 1_000_000


class Place(Protocol):
    """What an operation knows of where it stands: a `WorkflowContext`, seen from here."""

    @property
    def key(self) -> InvocationKey: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def template(self) -> NewInvocation: ...
    def line(self) -> str:
        """`file:line` of the workflow code that asks."""
        ...

    @property
    def branching(self) -> bool:
        """Whether several branches may wait at a time."""
        ...

    @property
    def careful(self) -> bool:
        """Whether each body is preceded by a durable start entry (after a crash)."""
        ...

    @property
    def is_spread(self) -> bool:
        """Whether there are several servers, so that a child may live on another one."""
        ...

    def beside(self, made: str) -> str:
        """The id of a child that lives where this workflow does."""
        ...

    @property
    def halted(self) -> bool: ...
    def rebuilt(self, body: bytes) -> BaseException: ...
    def raised(self, error: BaseException) -> Raised: ...
    def add_child(self, new: NewInvocation) -> None: ...
    def add_watch(self, key: InvocationKey) -> None: ...
    def add_data(self, name: str, body: bytes) -> None: ...
    def progressed(self) -> None:
        """A task ended after a crash; forget the crashes."""
        ...


DecodeResult = Callable[[bytes], object]


def begin(place: Place, kind: EntryKind, prefix: str, name: str) -> Command:
    """Count a command and compare it with the journal."""
    return place.journal.begin(place.scope, kind, prefix, name, place.line)


def name_of(call: Call, ahead: Entry | None) -> str:
    """The name of a called function; one of its aliases in the journal is itself."""
    if ahead is not None and ahead.name in call.function.names:
        return ahead.name
    return call.function.name


def stage(
    place: Place,
    command: Command,
    body: bytes,
    at: int,
    digest: bytes = b"",
    *,
    observed: bool = False,
    held: bool = False,
) -> None:
    """Stage the entry of a command; `observed` and `held` as in `Journal.stage`."""
    draft = Draft(
        command.kind,
        command.scope.path,
        command.ordinal,
        command.key,
        command.name,
        digest,
        body,
        command.meta,
        at,
    )
    place.journal.stage(draft, observed=observed, held=held)


def note(place: Place, command: Command, kind: EntryKind, body: bytes, at: int) -> None:
    """Stage an entry about a command that has not ended, such as a failed attempt."""
    scope, ordinal = command.place
    place.journal.stage(
        Draft(kind, scope, ordinal, command.key, command.name, b"", body, b"{}", at)
    )


def recorded_outcome(place: Place, members: Body, decode: DecodeResult) -> Outcome:
    """The outcome that an entry body holds, as the workflow sees it."""
    if members.error:
        error = bytes(members.error)
        return Raised(error, place.rebuilt(error))
    result = bytes(members.result)
    return Returned(result, decode(result))


def check_arguments(place: Place, entry: Entry, call: Call, recorded: bytes) -> None:
    """Equal bytes or digests, or equal after defaults that the record does not know."""
    if recorded == call.arguments or entry.digest == call.digest:
        return
    if call.function.same_arguments(recorded, call.arguments):
        return
    then = place.journal.line_of(entry)
    raise Divergence(
        describe_arguments(place.key, entry, then, recorded, call.arguments, place.line())
    )


def delivered(wait: Wait) -> Entry:
    """The entry that ended a wait."""
    if wait.delivery is None:
        raise InternalError("A wait ended without its delivery. Please report this.")
    return wait.delivery
