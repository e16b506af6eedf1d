"""Objects that do all they can to be in the way: as exceptions, as results, as arguments, in text.

Any exception becomes a bounded record. A value is recorded or refused by a typed error. Whatever it
was, the workflow ends, and the next one runs.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Perdure
from perdure.errors import PerdureError, SerializationError
from perdure.values import (
    BYTES_MAX,
    TypeRegistry,
    codec_for,
    decode_exception,
    encode_exception,
)
from tests.support.stores import LONG, Store, memory_store
from tests.values.samples import Point

__all__ = ["memory_store"]


def odd(value: object) -> Any:
    """What is no such value, unseen by type checkers."""
    return value


def bites(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a dunder of the user's was called")


def kills(*_: object, **__: object) -> Any:
    raise SystemExit("a dunder of the user's was called")


DUNDERS = (
    *("__str__", "__repr__", "__format__", "__bytes__", "__hash__", "__eq__", "__ne__", "__lt__"),
    *("__bool__", "__len__", "__iter__", "__next__", "__contains__", "__getitem__", "__setitem__"),
    *("__getattr__", "__setattr__", "__delattr__", "__dir__", "__reduce__", "__reduce_ex__"),
    *("__getstate__", "__setstate__", "__copy__", "__deepcopy__", "__sizeof__", "__index__"),
    *("__int__", "__float__", "__call__", "__enter__", "__exit__", "__await__", "__fspath__"),
    *("__instancecheck__", "__subclasshook__", "__class_getitem__", "with_traceback", "add_note"),
    *("__iadd__", "__add__", "__eq__", "__set_name__", "__del_name__", "keys", "items", "values"),
)


def spiteful(base: Any, name: str, act: Callable[..., Any]) -> Any:
    """A class whose every dunder raises; it can still be made."""
    return type(name, (base,), dict.fromkeys(DUNDERS, act))


class Liar(Exception):
    """It says that it is something else."""

    __class__ = property(lambda self: int)


class Closed(Exception):
    """Nothing of it can be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


class Meta(type):
    """Nothing of its classes can be looked at, either."""

    def __getattribute__(cls, name: str) -> Any:
        if name in {"__name__", "__qualname__", "__module__", "__subclasses__", "mro"}:
            raise ZeroDivisionError(name)
        return super().__getattribute__(name)

    def __instancecheck__(cls, instance: object) -> bool:
        raise ZeroDivisionError("isinstance")

    def __subclasscheck__(cls, subclass: type) -> bool:
        raise ZeroDivisionError("issubclass")

    def __repr__(cls) -> str:
        raise ZeroDivisionError("repr")

    __eq__ = __hash__ = bites


class Text(str):
    """A text that is none when it is looked at."""

    __str__ = __repr__ = encode = __len__ = __hash__ = __eq__ = __getitem__ = bites


class Notes(list[Any]):
    __getitem__ = __iter__ = __len__ = bites


class Group(ExceptionGroup[Exception]):
    exceptions = property(bites)
    message = property(bites)
    derive = split = subgroup = bites


class Grown(Exception):
    """It grows while it is looked at."""

    def __str__(self) -> str:
        self.args = (*self.args, "x" * 10_000)
        vars(self)[f"more{len(self.args)}"] = self.args
        return "x" * 10_000


def with_attributes(**attributes: Any) -> BaseException:
    error = ValueError("x")
    vars(error).update(attributes)
    return error


def looped() -> BaseException:
    error = ValueError()
    error.args = (error, [error], {"self": error})
    error.__cause__ = error.__context__ = error
    return error


def ring(length: int) -> BaseException:
    errors = [KeyError(n) for n in range(length)]
    for one, other in zip(errors, errors[1:] + errors[:1], strict=True):
        one.__cause__, one.__context__ = other, errors[0]
    return errors[0]


def deep_group() -> BaseException:
    error: Exception = ValueError("x")
    for n in range(5_000):
        error = ExceptionGroup(str(n), [error, KeyError(n)])
    return error


HOSTILE: dict[str, Callable[[], BaseException]] = {
    "every dunder raises": lambda: spiteful(Exception, "Bites", bites)("x"),
    "every dunder exits": lambda: spiteful(Exception, "Kills", kills)("x"),
    "a base exception": lambda: spiteful(BaseException, "Worse", kills)("x"),
    "an OSError": lambda: spiteful(OSError, "Disk", kills)(2, "x", "y"),
    "a UnicodeError": lambda: spiteful(UnicodeDecodeError, "U", kills)("utf-8", b"x", 0, 1, "y"),
    "a liar": lambda: Liar("x"),
    "closed": lambda: Closed("x"),
    "a metaclass": lambda: Meta("Odd", (Exception,), {})("x"),
    "a name that is no text": lambda: type("N", (Exception,), {"__module__": 7})("x"),
    "a module of the dead": lambda: type("N", (Exception,), {"__module__": "\ud800"})("x"),
    "a text": lambda: ValueError(Text("x")),
    "a note": lambda: with_attributes(__notes__=[Text("x"), spiteful(object, "O", kills)()]),
    "notes": lambda: with_attributes(__notes__=Notes(["x"])),
    "attributes": lambda: with_attributes(a=Text("x"), b=spiteful(object, "O", kills)(), c=Point),
    "names of attributes": lambda: with_attributes(**{"\ud800": 1, "": 2, "a b": 3, "__x": 4}),
    "attributes that are many": lambda: with_attributes(**{f"a{n}": n for n in range(5_000)}),
    "a traceback text": lambda: with_attributes(__perdure_traceback__="\ud800" * 100_000),
    "a traceback that is none": lambda: with_attributes(__perdure_traceback__=[1]),
    "a group": lambda: Group("x", [ValueError(1)]),
    "a deep group": deep_group,
    "itself": looped,
    "a ring": lambda: ring(3),
    "a large ring": lambda: ring(500),
    "growing": lambda: Grown("x"),
    "args that are huge": lambda: ValueError("x" * 2_000_000),
    "args that are many": lambda: ValueError(*range(50_000)),
    "a number without end": lambda: ValueError(1 << 40_000_000),
    "NaN": lambda: ValueError(float("nan"), {float("nan"): float("nan")}),
    "surrogates": lambda: OSError(2, "\ud800", "\udfff"),
    "not text": lambda: ImportError(b"x", name=odd(7), path=odd(object())),
    "StopIteration": lambda: StopIteration(StopIteration(1)),
    "StopAsyncIteration": lambda: StopAsyncIteration("x"),
    "GeneratorExit": lambda: GeneratorExit("x"),
    "CancelledError": lambda: asyncio.CancelledError("x"),
    "SystemExit": lambda: SystemExit(spiteful(object, "Code", kills)()),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("x"),
    "RecursionError": lambda: RecursionError("x"),
    "MemoryError": lambda: MemoryError("x" * 100_000),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("registered", [False, True])
def test_any_exception_becomes_a_bounded_record(what: str, registered: bool) -> None:
    registry = TypeRegistry()
    error = HOSTILE[what]()
    if registered:
        try:
            registry.register(type(error))
        except Exception:  # a class that cannot even be named is not registered
            pytest.fail("refused by another error") if what != "a metaclass" else None
    body = encode_exception(error, registry)
    assert len(body) <= BYTES_MAX
    back = decode_exception(body, registry)
    assert isinstance(back, BaseException)
    again = decode_exception(encode_exception(back, registry), registry)
    assert type(again) is type(back)
    if not registered:
        assert "Error" in "".join(traceback.format_exception(back)) or repr(back)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_workflow_gets_over_it(memory_store: Store, what: str, colour: str) -> None:
    app = memory_store.app()
    declare_sync(app, what) if colour == "sync" else declare_async(app, what)
    assert app.start("flow").result(LONG) == "got over it"
    with pytest.raises(BaseException) as caught:
        app.start("fails").result(LONG)
    assert not isinstance(caught.value, AssertionError)
    assert app.start("flow").result(LONG) == "got over it"


def declare_sync(app: Perdure, what: str) -> None:
    @app.task(name="task")
    def task() -> None:
        error = HOSTILE[what]()
        raise error

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            task()
        except BaseException as error:
            repr(type(error))
            return "got over it"
        return "no error"

    @app.workflow(name="fails")
    def fails() -> None:
        error = HOSTILE[what]()
        raise error


def declare_async(app: Perdure, what: str) -> None:
    @app.task(name="task")
    async def task() -> None:
        error = HOSTILE[what]()
        raise error

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            await task()
        except BaseException as error:
            repr(type(error))
            return "got over it"
        return "no error"

    @app.workflow(name="fails")
    async def fails() -> None:
        error = HOSTILE[what]()
        raise error


def nested(levels: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return value


VALUES: dict[str, Callable[[], Any]] = {
    "every dunder raises": lambda: spiteful(object, "Bites", bites)(),
    "every dunder exits": lambda: spiteful(object, "Kills", bites)(),
    "a dict": lambda: spiteful(dict, "D", bites)(),
    "a list": lambda: spiteful(list, "L", bites)(),
    "a text": lambda: Text("x"),
    "a number": lambda: type("I", (int,), {"__eq__": bites, "__hash__": bites})(1),
    "a class": lambda: Meta("Odd", (), {}),
    "of an odd class": lambda: Meta("Odd", (), {})(),
    "a liar": lambda: type("Liar", (), {"__class__": property(lambda self: dict)})(),
    "a function": lambda: bites,
    "a generator": lambda: (n for n in ""),
    "a lock": lambda: __import__("threading").Lock(),
    "a module": lambda: asyncio,
    "deep lists": lambda: nested(100_000, lambda inner: [inner]),
    "deep dicts": lambda: nested(1_000, lambda inner: {"a": inner}),
    "deep tuples": lambda: nested(65, lambda inner: (inner,)),
    "deep keys": lambda: nested(65, lambda inner: {(inner,): 1} if inner == 1 else {1: inner}),
    "a surrogate": lambda: "\ud800",
    "a key": lambda: {"\ud800": 1},
    "a number without end": lambda: 1 << 40_000_000,
    "many": lambda: [0] * 3_000_000,
    "much": lambda: "x" * 20_000_000,
    "much in bytes": lambda: b"x" * 20_000_000,
}


@pytest.mark.parametrize("annotation", [Any, dict, list[int], Point, str])
@pytest.mark.parametrize("what", VALUES)
def test_a_value_is_refused_by_a_typed_error(what: str, annotation: Any) -> None:
    with pytest.raises(SerializationError) as caught:
        codec_for(annotation, TypeRegistry()).encode(VALUES[what](), "here")
    assert str(caught.value).startswith("here: ")
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("what", ["every dunder raises", "a dict", "a surrogate"])
def test_results_and_arguments_that_are_refused(memory_store: Store, what: str) -> None:
    app = memory_store.app()
    value = VALUES[what]()

    @app.task(name="task")
    def task(given: Any = None) -> Any:
        return value

    @app.workflow(name="flow")
    def flow(given: Any = None) -> str:
        for call in (lambda: task(), lambda: task(value)):
            try:
                call()
            except PerdureError:
                continue
            return "taken"
        return "refused"

    @app.workflow(name="gives")
    def gives() -> Any:
        return value

    assert flow() == "refused"
    with pytest.raises(SerializationError):
        flow.start(value)
    with pytest.raises(SerializationError):
        gives()
    assert flow() == "refused"
