"""What an operation may ask of the loop that drives it. Values only; nothing here does anything."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from perdure.backends.base import NewInvocation
from perdure.backends.letters import Letter
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.retry import Retry
from perdure.engine.cancellation import Cancellation, ControlName
from perdure.values import fingerprint

T = TypeVar("T")


class Function(Protocol):
    """A registered function as the engine sees it. The api layer implements it."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """Its name and its aliases: what recorded work may call it."""
        ...

    @property
    def kind(self) -> str:
        """Either `task` or `workflow`."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine."""
        ...

    @property
    def retry(self) -> Retry:
        """Policy for failed attempts."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that one attempt may take, or None."""
        ...

    @property
    def heartbeat_timeout(self) -> float | None:
        """Seconds without a heartbeat after which an attempt has failed, or None."""
        ...

    @property
    def pure(self) -> bool:
        """Whether its body may run again without harm, so that its outcome may be held back."""
        ...

    @property
    def once(self) -> bool:
        """Whether its body must not run again when it is not known what came of it."""
        ...

    def asking(self, arguments: bytes) -> Call | None:
        """The call that finds out what became of a call with these arguments, if there is one."""
        ...

    @property
    def completes_outside(self) -> bool:
        """Whether a body may leave its task open, to be completed from outside."""
        ...

    @property
    def completion_timeout(self) -> float | None:
        """Seconds that a task may be left open, or None."""
        ...

    @property
    def executor(self) -> object:
        """Where its bodies run: an `ExecutorChoice` (`perdure.engine.executors`)."""
        ...

    @property
    def around(self) -> object:
        """What its bodies run in, an `Around` (`perdure.engine.around`), or None."""
        ...

    def bind(self, arguments: bytes) -> Callable[[], object]:
        """The function bound to freshly decoded arguments, not called yet."""
        ...

    def encode_result(self, value: object) -> tuple[bytes, object]:
        """The recorded form of a result, and its decoded round trip."""
        ...

    def decode_result(self, body: bytes) -> object:
        """A result from its recorded form."""
        ...

    def same_arguments(self, recorded: bytes, asked: bytes) -> bool:
        """Whether two encoded argument sets mean one call (new defaults are no difference)."""
        ...


class Call:
    """A function plus its encoded arguments, as an operation carries it. Never changed.

    The fingerprint is made when it is asked for: a replay that is asked for the very bytes that are
    recorded needs none.
    """

    __slots__ = ("_digest", "arguments", "function")

    def __init__(self, function: Function, arguments: bytes, digest: bytes = b"") -> None:
        """Make a call; `digest` is the fingerprint of `arguments` where it is known already."""
        self.function = function
        self.arguments = arguments
        self._digest = digest

    @property
    def digest(self) -> bytes:
        """The fingerprint of the arguments."""
        if not self._digest:
            self._digest = fingerprint(self.arguments)
        return self._digest

    @property
    def call_id(self) -> str:
        """Registered name and fingerprint of the arguments, the same in every process."""
        return f"{self.function.name}:{self.digest.hex()}"


SHOWN_MAX = 60
"""Characters of the arguments of an undo in a note; a note has room for a dozen."""


def shown_call(name: str, arguments: bytes) -> str:
    """A call with its recorded arguments for people: `refund({"order":"42"})`."""
    text = arguments.decode()
    return f"{name}({text if len(text) <= SHOWN_MAX else f'{text[:SHOWN_MAX]}...'})"


class Undo(msgspec.Struct, frozen=True):
    """A call to be made if the workflow fails. `queued` as for `call_task`."""

    call: Call
    queued: NewInvocation | None

    def __str__(self) -> str:
        """For people."""
        return shown_call(self.call.function.name, self.call.arguments)


class Wait(msgspec.Struct, eq=False):
    """Something an operation waits for. The attempt fills in `delivery` when it arrives.

    Attributes:
        place: scope path and ordinal of the command that a TASK or FIRED entry answers.
        source: the invocation whose DONE entry answers.
        letter: kind (MESSAGE, UPDATE) and name; the next one that nobody took answers.
        due: for a timer, when it fires (absolute). Without a place it is a pause between attempts,
            whose end is not recorded.
        satisfied: it came; wake: called then, by an attempt that steps a loop.
    """

    place: tuple[str, int] | None = None
    source: InvocationKey | None = None
    letter: tuple[str, str] | None = None
    due: int | None = None
    delivery: Entry | None = None
    satisfied: bool = False
    wake: Callable[[], None] | None = None


class Now(msgspec.Struct, frozen=True):
    """Give the state backend's time (int, microseconds)."""


class Flush(msgspec.Struct, frozen=True):
    """Make everything staged durable. Gives True, or False if a child's id was taken."""


class Find(msgspec.Struct, frozen=True):
    """Give the latest record of this invocation id, or None."""

    invocation_id: str


class StartNow(msgspec.Struct, frozen=True):
    """Start this in a transaction of its own, or find what has its id; give the record."""

    new: NewInvocation


class SendNow(msgspec.Struct, frozen=True):
    """Send a letter in a transaction of its own; gives what became of it (`Sent`)."""

    key: InvocationKey
    letter: Letter


class ControlNow(msgspec.Struct, frozen=True):
    """Cancel or terminate another invocation; gives why that cannot be done, or None."""

    what: ControlName
    key: InvocationKey
    asked: Cancellation


class Emitted(msgspec.Struct, frozen=True):
    """What became of an emit.

    Attributes:
        number: which of the emits of its topic it is, from 1.
        accepted: False if the topic has its first value from another one, and nothing was emitted.
    """

    number: int
    accepted: bool


class EmitNow(msgspec.Struct, frozen=True):
    """Emit a value to a topic, once for this id; gives `Emitted`, or why it cannot be done."""

    topic: str
    emit_id: str
    body: bytes
    once: bool


class CountEmits(msgspec.Struct, frozen=True):
    """Give how many emits a topic has, or why that cannot be told."""

    topic: str


class OpenEmit(msgspec.Struct, frozen=True):
    """See to it that an emit can be waited for; gives its key, or why it cannot."""

    topic: str
    number: int


class Compute(msgspec.Struct, frozen=True):
    """Run a function of the user inline; gives an `Outcome`.

    A value that `encode` refuses is an outcome as well: the refusal.
    """

    run: Callable[[], object]
    encode: Callable[[object], tuple[bytes, object]]


class MayBegin(msgspec.Struct, frozen=True):
    """Wait until a body may begin here; raises what a `RunBody` would raise before its body."""


class RunBody(msgspec.Struct, frozen=True):
    """Run one attempt of a task body here; gives an `Outcome`.

    Attributes:
        place: scope path and ordinal of the command, which name the invocation.
        once: its beginning is on record, so it is tried once. Gives more then: None if it did not
            begin, a `Wait` if it did not and shall be tried again after that, `Unfinished` if
            nobody knows.
        about: the place of the call that this one asks about; it has the idempotency key of that.
        attempt: its number, one more than the failed attempts on record.
    """

    call: Call
    place: tuple[str, int]
    clock: int
    once: bool = False
    about: tuple[str, int] | None = None
    attempt: int = 1


class WaitAny(msgspec.Struct, frozen=True):
    """Wait for the first of these in journal order; gives that `Wait`."""

    waits: tuple[Wait, ...]


Outward: TypeAlias = SendNow | ControlNow | EmitNow | CountEmits | OpenEmit
"""What is done to something else than this workflow, in transactions of its own."""
Effect: TypeAlias = Now | Flush | Find | StartNow | Outward | Compute | MayBegin | RunBody | WaitAny
Flow: TypeAlias = Generator[Effect, Any, T]
