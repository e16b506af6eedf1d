"""How a task body travels: as names and encoded values, never as code or pickled objects.

What is sent is the name of a registered function, its encoded arguments, and what its context is
made of. The receiver imports the function's module, which registers it as it did here, and sends
the encoded outcome back. `run_shipment` is a plain function of bytes to bytes, so every
`concurrent.futures.Executor` can carry it.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import traceback
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from perdure.backends.base import NewInvocation
from perdure.core.identity import InvocationKey
from perdure.core.reading import UNREADABLE
from perdure.engine.body import run_body
from perdure.engine.context import Origin, TaskContext
from perdure.engine.effects import Call, Function
from perdure.engine.outcome import LATER, Outcome, Raised, Returned, Unfinished
from perdure.engine.pulse import Pulse
from perdure.engine.telling import Ask, AskingKeeper
from perdure.errors import (
    BodyDied,
    DeserializationError,
    ExecutorUnavailable,
    OperationRefused,
    RegistrationError,
)
from perdure.values import MAIN_MODULES, TypeRegistry, decode_exception, main_module_name


class Owner(Protocol):
    """What the api layer attaches to contexts, as far as it matters here."""

    def require_store(self, store_id: bytes) -> None:
        """Refuse operations on another state backend than this one, from now on."""
        ...


class Reference(NamedTuple):
    """How a registered function is found again in another process."""

    module: str
    qualname: str
    name: str


class Portable:
    """A registered function with what its bodies need in any process."""

    def __init__(
        self, function: Function, reference: Reference, types: TypeRegistry, owner: Owner
    ) -> None:
        self.function = function
        self.reference = reference
        self.types = types
        self.owner = owner
        self.number = next(_numbers)


_numbers = itertools.count()
_by_function: weakref.WeakKeyDictionary[Function, Portable] = weakref.WeakKeyDictionary()
_by_number: weakref.WeakValueDictionary[int, Portable] = weakref.WeakValueDictionary()
_by_reference: weakref.WeakValueDictionary[Reference, Portable] = weakref.WeakValueDictionary()
_token = os.urandom(16)


def _home() -> bytes:
    """Names this process; a forked child, which has the token too, is another one."""
    return _token + os.getpid().to_bytes(8, "big")


def publish(
    function: Function, code: Callable[..., object], types: TypeRegistry, owner: Owner
) -> None:
    """Let bodies of this function run in other processes that import its module.

    Raises:
        RegistrationError: importing its module would not define it.
    """
    module = str(getattr(code, "__module__", "") or "")
    qualname = str(getattr(code, "__qualname__", "") or "")
    if not module or not qualname or "<locals>" in qualname:
        raise RegistrationError(
            f"Task {function.name!r} has an executor=, so its body may run in another process, "
            f"which finds it by importing its module; but {code!r} is defined inside a function. "
            "Define it at the top level of a module, or leave executor= out."
        )
    module = main_module_name() if module in MAIN_MODULES else module
    portable = Portable(function, Reference(module, qualname, function.name), types, owner)
    _by_function[function] = portable
    _by_number[portable.number] = portable
    _by_reference[portable.reference] = portable


PROCESS_NAME = "perdure-bodies"
"""What `multiprocessing` calls a process that was made for bodies."""
_ready = False


def serving() -> None:
    """This process was made for bodies, and all that it imports to begin with is there."""
    global _ready  # noqa: PLW0603 - one fact about the process
    _ready = True


def refuse_import_effects() -> None:
    """Whether an app may be opened now.

    Raises:
        OperationRefused: by a script that is imported in a process for bodies, and does at import
            what only the first process of it is to do.
    """
    processes: Any = sys.modules.get("multiprocessing.process")
    if processes is None or _ready or processes.current_process().name != PROCESS_NAME:
        return
    raise OperationRefused(
        "A process for task bodies imported this script, and the script used its app at once, as "
        "if it had been started again. Put what only the started script is to do under: "
        'if __name__ == "__main__":'
    )


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """One body to run.

    Attributes:
        home, number: in this very process it is this very function, without any import.
        store_id: the only state backend on which it may start or read anything.
        nonce: makes each one differ: an executor that keeps what equal calls gave (Dask does) would
            else give a failed attempt's outcome to the next one.
    """

    home: bytes
    number: int
    reference: Reference
    arguments: bytes
    invocation: InvocationKey
    seed: bytes
    effect_seed: bytes
    clock: int
    workflow: InvocationKey | None
    template: NewInvocation
    store_id: bytes
    nonce: bytes


class Reply(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        kind: "later" if the body left its task open; "unknown" if the function was not found, and
            its body did not run then.
        body: encoded result or exception; text in UTF-8 if unknown.
    """

    kind: Literal["returned", "raised", "later", "unknown"]
    body: bytes
    final: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode_shipment = msgspec.msgpack.Decoder(Shipment).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def pack(call: Call, context: TaskContext, store_id: bytes) -> bytes:
    """One body to run, as bytes."""
    portable = _by_function[call.function]
    return _encode(
        Shipment(
            home=_home(),
            number=portable.number,
            reference=portable.reference,
            arguments=call.arguments,
            invocation=context.invocation,
            seed=context.seed(),
            effect_seed=context.origin.effect_seed,
            clock=context.clock,
            workflow=context.workflow,
            template=context.template,
            store_id=store_id,
            nonce=os.urandom(8),
        )
    )


def unpack(function: Function, reply: bytes, types: TypeRegistry) -> Outcome | Unfinished:
    """What came of it, as if the body had run here."""
    try:
        return _unpacked(function, _decode_reply(reply), types)
    except (*UNREADABLE, DeserializationError) as error:
        kind = BodyDied if function.once else ExecutorUnavailable  # it did run, so not again
        return Unfinished(
            kind(
                f"What task {function.name!r} gave came from another process and cannot be read "
                f"here: {error} Both must have the same code."
            )
        )


def _unpacked(function: Function, answer: Reply, types: TypeRegistry) -> Outcome | Unfinished:
    if answer.kind == "unknown":
        return Unfinished(ExecutorUnavailable(answer.body.decode("utf-8", "replace")))
    if answer.kind == "raised":
        return Raised(answer.body, decode_exception(answer.body, types), answer.final)
    if answer.kind == "later":
        return Returned(b"", LATER)
    return Returned(answer.body, function.decode_result(answer.body))


def _nothing() -> None:
    pass


def run_shipment(
    payload: bytes, began: Callable[[], None] = _nothing, ask: Ask | None = None
) -> bytes:
    """Run one body in this process and give what came of it; never raises.

    Args:
        began: called when the function was found and its body is about to run.
        ask: asks whoever waits for the body; None if there is no way.
    """
    shipment = _decode_shipment(payload)
    found = _find(shipment)
    if isinstance(found, str):
        return _encode(Reply("unknown", found.encode()))
    began()
    context = TaskContext(
        lambda: Origin(shipment.invocation, shipment.seed, shipment.template, shipment.effect_seed),
        shipment.clock,
        workflow=shipment.workflow,
        owner=found.owner,
        pulses=None if ask is None else lambda _: Pulse(monotonic, AskingKeeper(ask), every=0.0),
    )
    outcome = run_body(found.function, shipment.arguments, context, found.types)
    if isinstance(outcome, Returned):
        kind: Literal["returned", "later"] = "later" if outcome.value is LATER else "returned"
        return _encode(Reply(kind, outcome.body))
    return _encode(Reply("raised", outcome.body, outcome.final))


def _find(shipment: Shipment) -> Portable | str:
    """The function here, or why there is none."""
    if shipment.home == _home():
        return _by_number.get(shipment.number) or "The app of this task is gone."
    module, qualname, name = shipment.reference
    if shipment.reference not in _by_reference:
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 - a module may raise anything, or exit
            reason = "".join(traceback.format_exception_only(error)).strip()
            return (
                f"Task {name!r} could not be run in process {os.getpid()}: importing its module "
                f"{module!r} failed there: {reason}. That process looks in {sys.path}."
            )
    portable = _by_reference.get(shipment.reference)
    if portable is None:
        return (
            f"Task {name!r} could not be run in process {os.getpid()}: importing {module!r} there "
            f"did not register {qualname!r} under this name with an executor=. Let the module that "
            "defines the function decorate it, at its top level and always."
        )
    portable.owner.require_store(shipment.store_id)
    return portable
