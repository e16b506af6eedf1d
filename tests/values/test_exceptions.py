"""Any exception becomes a bounded record; reading it runs no user code and hides no error."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import errors
from perdure.errors import DeserializationError, TaskError
from perdure.values import (
    BYTES_MAX,
    TypeRegistry,
    decode_exception,
    encode_exception,
    recorded_traceback,
)
from tests.values.samples import deterministic

CALLS: list[str] = []


class ShopError(Exception):
    def __init__(self, code, hint=None):
        CALLS.append("init")
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint

    def __setattr__(self, name, value):
        CALLS.append("setattr")
        super().__setattr__(name, value)


class SoldOut(ShopError):
    pass


class DiskError(OSError):
    def __init__(self, errno, text, filename):
        CALLS.append("init")
        super().__init__(errno, text, filename)
        self.disk = "sda"


class Stop(BaseException):
    pass


class Sneaky(Exception):
    __notes__ = property(lambda self: CALLS.append("notes"))
    args = property(lambda self: CALLS.append("args"))
    __cause__ = property(lambda self: CALLS.append("cause"), lambda self, v: CALLS.append("cause"))
    __dict__ = property(lambda self: CALLS.append("dict"))

    def __new__(cls, *args):
        CALLS.append("new")
        return super().__new__(cls, *args)


class Unprintable(Exception):
    def __str__(self):
        raise SystemExit("no")

    __repr__ = __str__


def registry_of(*classes):
    registry = TypeRegistry()
    for cls in classes:
        registry.register(cls)
    return registry


def there_and_back(error, *classes):
    """Decode twice, with an encode in between: the second time must change nothing."""
    registry = registry_of(*classes)
    first = decode_exception(encode_exception(error, registry), registry)
    second = decode_exception(encode_exception(first, registry), registry)
    assert facts(first) == facts(second)
    return first


def text(error):
    try:
        return str(error)
    except BaseException:
        return "hostile"


def facts(error):
    if error is None:
        return None
    return (
        type(error),
        text(error),
        repr(error.args),
        getattr(error, "__notes__", None),
        error.__suppress_context__,
        facts(error.__cause__),
        facts(error.__context__),
        [facts(e) for e in getattr(error, "exceptions", ())],
    )


def built_in() -> list[BaseException]:
    """New ones each time: who raises one changes it."""
    return [
        ValueError("x"),
        ValueError(),
        KeyError("k"),
        KeyError((1, "a")),
        IndexError("i", 2),
        StopIteration(3),
        StopAsyncIteration(),
        SystemExit(2),
        KeyboardInterrupt(),
        GeneratorExit(),
        OSError(2, "no such file", "a.txt"),
        OSError(18, "cross", "a", None, "b"),
        FileNotFoundError(2, "x"),
        OSError("just text"),
        BlockingIOError(11, "again", 5),
        ConnectionResetError(104, "reset"),
        TimeoutError("late"),
        BrokenPipeError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        UnicodeEncodeError("ascii", "é", 0, 1, "bad"),
        SyntaxError("bad", ("f.py", 1, 2, "x =", 1, 3)),
        ImportError("no", name="shop", path="/x"),
        ModuleNotFoundError("m", name="m"),
        AttributeError("a", name="b"),
        NameError("n", name="n"),
        ZeroDivisionError("division by zero"),
        RecursionError("deep"),
        MemoryError(),
        AssertionError(),
        NotImplementedError("later"),
        RuntimeError({"a": [1, (2,)]}),
        UserWarning("w"),
        ExceptionGroup("many", [ValueError(1), ExceptionGroup("inner", [KeyError("k")])]),
        BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError("x")]),
        LookupError(None),
        ArithmeticError(float("nan")),
    ]


@pytest.mark.parametrize("error", built_in(), ids=lambda e: ascii(e)[:50])
def test_built_in_exceptions_come_back_as_themselves(error):
    back = there_and_back(error)
    assert facts(back) == facts(error)
    for attribute in (
        "errno",
        "strerror",
        "filename",
        "filename2",
        "characters_written",
        "code",
        "value",
        "start",
        "object",
        "reason",
        "name",
        "path",
        "lineno",
        "text",
        "message",
    ):
        if not isinstance(error, (AttributeError, NameError)) or attribute != "object":
            assert repr(getattr(back, attribute, None)) == repr(getattr(error, attribute, None))


@pytest.mark.parametrize(
    "cls",
    [
        c
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.PerdureError)
    ],
)
def test_errors_of_ours_are_registered(cls):
    error = cls("shop.E", "text") if cls is TaskError else cls("text")
    back = there_and_back(error)
    assert type(back) is cls
    assert str(back) == str(error)


def test_registered_classes_come_back_without_their_init():
    error = SoldOut(7, hint="wait")
    error.basket = object()  # cannot be recorded, so it alone is left out
    body = encode_exception(error, registry_of(ShopError))
    CALLS.clear()
    back = decode_exception(body, registry_of(ShopError))
    assert CALLS == []
    assert type(back) is SoldOut
    assert (str(back), back.args, back.code, back.hint) == ("code 7", ("code 7",), 7, "wait")
    assert not hasattr(back, "basket")
    there_and_back(error, ShopError)


def test_a_cancellation_of_asyncio_comes_back_as_an_error():
    back = there_and_back(asyncio.CancelledError("why"))
    assert type(back) is TaskError
    assert (back.type_name, back.message) == ("asyncio.exceptions.CancelledError", "why")
    held = there_and_back(BaseExceptionGroup("both", [asyncio.CancelledError(), ValueError("x")]))
    assert [type(each) for each in held.exceptions] == [TaskError, ValueError]


def test_what_built_in_bases_keep_in_c_is_restored():
    back = there_and_back(DiskError(5, "I/O error", "a.txt"), DiskError)
    assert type(back) is DiskError
    assert (back.errno, back.strerror, back.filename, back.disk) == (5, "I/O error", "a.txt", "sda")


def test_unregistered_classes_become_task_errors():
    error = ShopError(7)
    error.add_note("hint")
    error.__cause__ = KeyError("k")
    back = there_and_back(error)
    assert type(back) is TaskError
    assert back.type_name == f"{__name__}.ShopError"
    assert back.message == "code 7"
    assert "ShopError: code 7" in back.traceback_text
    assert back.__notes__ == ["hint"]
    assert repr(back.__cause__) == "KeyError('k')"
    assert type(there_and_back(Stop("x"))) is TaskError


def test_args_that_cannot_be_recorded_give_a_task_error():
    back = there_and_back(ValueError("bad", object))
    assert type(back) is TaskError
    assert back.type_name == "builtins.ValueError"
    assert "bad" in back.message
    assert (
        type(there_and_back(UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "bad")))
        is TaskError
    )


def test_hostile_exceptions_cannot_interfere():
    CALLS.clear()
    error = Exception.__new__(Sneaky, "x")
    back = there_and_back(error, Sneaky)
    assert type(back) is Sneaky
    assert CALLS.count("new") == 0
    back = there_and_back(Unprintable("x"), Unprintable)
    assert type(back) is Unprintable
    record = json.loads(encode_exception(Unprintable("x"), TypeRegistry()))
    assert record["message"] == "<its text cannot be read: SystemExit>"


def test_decoding_runs_no_user_code():
    body = encode_exception(Exception.__new__(Sneaky, "x"), registry_of(Sneaky))
    CALLS.clear()
    assert type(decode_exception(body, registry_of(Sneaky))) is Sneaky
    assert CALLS == []


@pytest.mark.parametrize("text", ["\ud800", "x" * 100_000, "\x00\x1b[31m", "", "é" * 20_000])
def test_strange_texts(text):
    for error in (ValueError(text), ShopError(text), KeyError(text)):
        error.add_note(text)
        there_and_back(error, ShopError)
    nasty = type("N" * 5000, (Exception,), {"__module__": "m" * 5000})
    back = there_and_back(nasty(text))
    assert type(back) is TaskError
    assert len(back.type_name) == 512


def test_strange_attributes():
    error = ValueError("x")
    vars(error)["__notes__"] = "no list"
    error.__dict__["\ud800"] = 1
    error.__dict__["__class__"] = 1
    error.__dict__["good"] = (1,)
    vars(error)["loop"] = error
    back = there_and_back(error)
    assert vars(back).keys() == {"good", "__perdure_traceback__"}
    assert back.good == (1,)
    vars(error)["__notes__"] = [1, object(), "two", *map(str, range(100))]
    notes = there_and_back(error).__notes__
    assert notes[0] == "1"
    assert notes[2] == "two"
    assert len(notes) == 8


def test_chains_are_kept_bounded_and_never_circle():
    a, b = ValueError("a"), KeyError("b")
    a.__cause__, b.__cause__ = b, a
    a.__context__ = a
    back = there_and_back(a)
    assert repr(back.__cause__) == "KeyError('b')"
    assert back.__cause__.__cause__ is None
    assert back.__suppress_context__
    error = ValueError(0)
    for number in range(1000):
        outer = ValueError(number)
        outer.__context__ = error
        error = outer
    length, link = 0, there_and_back(error)
    while link is not None:
        length, link = length + 1, link.__context__
    assert length == 16


def test_context_and_suppression():
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise ValueError("v") from None
    except ValueError as caught:
        back = there_and_back(caught)
    assert back.__suppress_context__
    assert repr(back.__context__) == "KeyError('k')"


def test_groups_are_bounded():
    wide = ExceptionGroup("wide", [ValueError(n) for n in range(1000)])
    back = decode_exception(encode_exception(wide, TypeRegistry()), TypeRegistry())
    assert isinstance(back, ExceptionGroup)
    assert len(back.exceptions) == 16
    assert "and 985 more" in str(back.exceptions[-1])
    deep: ExceptionGroup[Exception] = ExceptionGroup("0", [ValueError("x")])
    for number in range(300):
        deep = ExceptionGroup(str(number), [deep])
    there_and_back(deep)
    mixed = there_and_back(ExceptionGroup("g", [ShopError(1), ValueError(2)]))
    assert [type(e) for e in mixed.exceptions] == [TaskError, ValueError]


def test_the_record_is_bounded():
    big = "\x01" * 5_000
    group = ExceptionGroup(big, [ShopError(big, hint=[big]) for _ in range(100)])
    for member in group.exceptions:
        for _ in range(50):
            member.add_note(big)
    body = encode_exception(group, registry_of(ShopError))
    assert len(body) < BYTES_MAX
    decode_exception(body, TypeRegistry())


def test_the_traceback_travels_as_an_attribute():
    def culprit():
        raise ValueError("boom")

    with pytest.raises(ValueError) as caught:
        culprit()
    first: Any = decode_exception(encode_exception(caught.value, TypeRegistry()), TypeRegistry())
    assert "in culprit" in recorded_traceback(first)
    assert first.__perdure_traceback__ == recorded_traceback(first)
    assert first.__traceback__ is None
    assert not hasattr(first, "__notes__")
    with pytest.raises(ValueError) as caught:
        raise first
    second = there_and_back(caught.value)
    assert "in culprit" in recorded_traceback(second)
    assert "raise first" in recorded_traceback(second)
    assert recorded_traceback(ValueError()) == ""
    deep = RecursionError("deep")
    for _ in range(100):
        deep.__context__, deep = ValueError("y" * 4000), deep
    assert len(recorded_traceback(there_and_back(ValueError("z" * 100_000)))) <= 16 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":1,"message":""}',
        b'{"type":"x"}',
        b'{"type":"x","message":"\xff"}',
        b"[" * 100_000,
        b'{"type":"x","message":"","cause":' * 500,
    ],
)
def test_damaged_records_give_one_error(body):
    with pytest.raises(DeserializationError, match="a recorded exception"):
        decode_exception(body, TypeRegistry())


@pytest.mark.parametrize(
    "part",
    [
        '"args":[1]',
        '"args":5',
        '"args":{"$":"v","v":{"$":"tuple","v":[1,2,3,4,5,6,7]}}',
        '"args":{"$":"v","v":{"$":"nope","v":1}}',
        '"args":{"$":"x"}',
        '"args":[],"state":{"x":{"$":"v","v":{"$":"nope","v":1}}}',
        '"args":[],"state":{"__class__":5,"__dict__":1}',
        '"args":[],"hidden":{"filename":[1],"characters_written":"x","name":1}',
        '"args":[],"members":[{"type":"a","message":"b"}]',
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "builtins.ValueError",
        "builtins.UnicodeDecodeError",
        "builtins.ExceptionGroup",
        "builtins.BlockingIOError",
        "asyncio.exceptions.CancelledError",
        "builtins.dict",
        "builtins.eval",
        "os.system",
        "perdure.errors.TaskError",
        f"{__name__}.ShopError",
        "subprocess.CalledProcessError",
    ],
)
def test_odd_records_still_give_an_exception(name, part):
    registry = registry_of(ShopError)
    CALLS.clear()
    back = decode_exception(f'{{"type":"{name}","message":"m",{part}}}'.encode(), registry)
    assert isinstance(back, BaseException)
    assert CALLS == []
    str(back), repr(back), encode_exception(back, registry)


def caused(error, cause):
    error.__cause__ = cause
    return error


arguments = st.lists(
    st.text(max_size=5) | st.integers() | st.floats() | st.tuples(st.binary(max_size=3)),
    min_size=1,
    max_size=2,
)
classes = st.sampled_from(
    [ValueError, KeyError, OSError, StopIteration, SystemExit, ShopError, Stop]
)
exceptions = st.recursive(
    st.builds(lambda cls, args: cls(*args), classes, arguments),
    lambda inner: (
        st.builds(caused, inner, inner)
        | st.builds(
            BaseExceptionGroup, st.text(max_size=3), st.lists(inner, min_size=1, max_size=3)
        )
    ),
    max_leaves=6,
)


@deterministic
@given(exceptions)
def test_generated_exceptions_settle_after_one_trip(error):
    there_and_back(error)
    there_and_back(error, ShopError, Stop)


def test_records_read_without_importing_anything():
    """In a process that has none of the classes: an audit hook sees no import, exec or open."""
    bodies = [
        encode_exception(e, registry_of(ShopError)).hex() for e in [ShopError(1), *built_in()]
    ]
    program = f"""
import sys
from perdure.values import TypeRegistry, decode_exception
registry = TypeRegistry()
bodies = [bytes.fromhex(body) for body in {bodies!r}]
decode_exception(bodies[0], registry)
import asyncio
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
for body in bodies:
    decode_exception(body, registry)
forbidden = {{"import", "exec", "compile", "open", "os", "subprocess", "pickle"}}
bad = [event for event in seen if event.split(".")[0] in forbidden]
assert not bad, bad
print(type(decode_exception(bodies[0], registry)).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "TaskError"), done.stderr
