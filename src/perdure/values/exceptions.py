"""Exceptions to bounded records and back. It must never call a user's `__init__` or fail to encode.

What a record keeps: type name, message, args, attributes, notes, causes, sub-exceptions, traceback
text. What is made of it again: the same class if it is a built-in or registered (or derives from a
registered one) and its args could be recorded, else a `TaskError` that says what it was.

A decoded exception has no frames of where it came from. The text of its traceback travels as the
attribute `__perdure_traceback__`; whoever shows the error to a person reads it by
`recorded_traceback`. It is no note, so that `__notes__` are exactly those that user code added.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import msgspec

from perdure.errors import DeserializationError, SerializationError, TaskError
from perdure.values.codec import Codec, codec_for
from perdure.values.limits import BYTES_MAX, Refusal, check
from perdure.values.registry import TypeRegistry, stable_name
from perdure.values.shapes import derives
from perdure.values.tagged import to_json

TRACEBACK_ATTRIBUTE: Final = "__perdure_traceback__"

RECORDS_MAX: Final = 16
"""Exceptions in one record: causes, contexts and members of groups, the outermost included."""

CHAIN_MAX: Final = RECORDS_MAX
"""Levels of causes, contexts and groups that are read. None has more, for each takes a record."""

TEXT_MAX: Final = 8 * 1024
"""Characters of a message, of up to 6 bytes each. `RECORDS_MAX` times all parts is 5 MiB."""

TRACEBACK_MAX: Final = 16 * 1024
"""Characters of the traceback text; its end is kept, for that is where the error is."""

FRAMES_MAX: Final = 50
"""Frames of each traceback in the text, the innermost ones."""

NOTES_MAX: Final = 8
"""Notes of one exception, each of at most `NOTE_MAX` characters."""

NOTE_MAX: Final = 1024
"""Characters of one note."""

NAME_MAX: Final = 512
"""Characters of the name of a class."""

PARTS_BYTES_MAX: Final = 32 * 1024
"""Bytes of the args, and of all attributes, of one exception."""

_BUILTIN_ERRORS: Final = frozenset(
    thing
    for thing in vars(builtins).values()
    if isinstance(thing, type) and issubclass(thing, BaseException)
)
_BUILTIN_NAMES: Final = {stable_name(cls): cls for cls in _BUILTIN_ERRORS}
_HIDDEN_STATE: Final[dict[type[BaseException], tuple[str, ...]]] = {
    OSError: ("filename", "filename2", "characters_written"),
    ImportError: ("name", "path"),
    AttributeError: ("name",),
    NameError: ("name",),
}
"""Attributes of built-in classes that are neither in `args` nor in `__dict__`."""

_PART: Final = "part of an exception"
"""Where a value stands. Nobody is told, for what is refused is left out."""

_ABSENT: Final = msgspec.Raw(b"null")
"""In place of args that could not be recorded. Args are a tuple, whose body is never `null`."""


class _Record(msgspec.Struct, omit_defaults=True):
    """One exception. `args`, `hidden` and `state` hold bodies in the self-describing form."""

    type: str
    message: str
    args: msgspec.Raw = _ABSENT
    hidden: dict[str, msgspec.Raw] = {}
    state: dict[str, msgspec.Raw] = {}
    notes: list[str] = []
    cause: _Record | None = None
    context: _Record | None = None
    suppress: bool = False
    members: list[_Record] = []
    traceback: str = ""


_read_record: Final = msgspec.json.Decoder(_Record).decode


def encode_exception(error: BaseException, registry: TypeRegistry) -> bytes:
    """The record of any exception, at most `BYTES_MAX` long. Never raises.

    What cannot be recorded is left out: attributes one by one; args as a whole, and then a
    `TaskError` comes back.
    """
    record = _Encoder(registry).record(error)
    record.traceback = _end(_traceback_text(error))
    return to_json(record)


def without_traceback(body: bytes) -> bytes:
    """A record without the texts of its tracebacks, to compare two runs of one piece of code.

    The same error has other lines after a comment was added, and other frames on replay.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    record = _read(body)
    _strip(record)
    return to_json(record)


def _read(body: bytes) -> _Record:
    try:
        return _read_record(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DeserializationError(f"a recorded exception cannot be read ({error}).") from error


def with_notes(body: bytes, notes: list[str]) -> bytes:
    """The record of an exception with notes of ours behind its own, which give way to them.

    Not by `add_note` on the exception, which user code may keep and raise again.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    record = _read(body)
    own = record.notes[: NOTES_MAX - len(notes)]
    record.notes = [*own, *(_clean(note.__str__, NOTE_MAX) for note in notes)]
    return to_json(record)


def notes_of(body: bytes) -> list[str]:
    """The notes of a recorded exception.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    return _read(body).notes


def message_of(body: bytes) -> str:
    """The message of a recorded exception.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    return _read(body).message


def is_record_of(body: bytes, cls: type[BaseException]) -> bool:
    """Whether a recorded exception was one of this very class.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    return _read(body).type == stable_name(cls)


def headline(body: bytes) -> str:
    """A recorded exception in a line: `ValueError: no ink`.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    record = _read(body)
    name = record.type.rpartition(".")[2]
    return f"{name}: {record.message}" if record.message else name


def _strip(record: _Record) -> None:
    record.traceback = ""
    for inner in (record.cause, record.context, *record.members):
        if inner is not None:
            _strip(inner)


def decode_exception(body: bytes, registry: TypeRegistry) -> BaseException:
    """The exception of a record. Runs no code of its class.

    Raises:
        DeserializationError: the bytes are damaged. A class that is unknown, or that cannot be
            made again, is no error but gives a `TaskError`.
    """
    try:
        check(body, BYTES_MAX)
        record = _read_record(body)
    except Refusal as refusal:
        raise DeserializationError(f"a recorded exception: {refusal}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DeserializationError(
            f"a recorded exception cannot be read ({error}). Are the bytes damaged?"
        ) from error
    return _Decoder(registry).exception(record, CHAIN_MAX)


def recorded_traceback(error: BaseException) -> str:
    """The traceback text of where a decoded exception was first raised, or `""`."""
    state = _dict_of(error)
    text: object = state.get(TRACEBACK_ATTRIBUTE)
    if text is None and type(error) is TaskError:
        text = state.get("traceback_text")
    return _clean(lambda: cast("str", text), BYTES_MAX) if derives(type(text), str) else ""


# --- the slots of BaseException, read past any property that a class may have put over them ------


def _slot(name: str, cls: type[BaseException] = BaseException) -> Any:
    return vars(cls)[name]


def _get(error: BaseException, name: str, cls: type[BaseException] = BaseException) -> Any:
    return _slot(name, cls).__get__(error)


def _set(error: BaseException, name: str, value: Any) -> None:
    _slot(name).__set__(error, value)


def _dict_of(error: BaseException) -> dict[str, Any]:
    return cast("dict[str, Any]", _get(error, "__dict__"))


# --- encode --------------------------------------------------------------------------------------


class _Encoder:
    """Walks the causes and members of one exception, counting and never turning in a circle."""

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._codec = codec_for(Any, registry, bytes_max=PARTS_BYTES_MAX)
        self._left = RECORDS_MAX
        self._above: set[int] = set()

    def record(self, error: BaseException) -> _Record:
        self._left -= 1
        self._above.add(id(error))
        record = self._head(error)
        record.notes = _notes(error)
        record.suppress = _get(error, "__suppress_context__")
        record.cause = self._linked(_get(error, "__cause__"))
        record.context = self._linked(_get(error, "__context__"))
        if derives(type(error), BaseExceptionGroup):
            record.members = self._members(_get(error, "exceptions", BaseExceptionGroup))
        record.traceback = _end(recorded_traceback(error))
        self._above.discard(id(error))
        return record

    def _head(self, error: BaseException) -> _Record:
        cls = type(error)
        if cls is TaskError:  # written as what it stands for, not as a TaskError of a TaskError
            stands_for = cast("TaskError", error)
            return _Record(
                type=_clean(lambda: stands_for.type_name, NAME_MAX),
                message=_clean(lambda: stands_for.message, TEXT_MAX),
            )
        arguments = _get(error, "args")
        if derives(cls, BaseExceptionGroup):
            arguments = arguments[:1]  # the rest are the members
        return _Record(
            type=_clean(lambda: self._registry.name_of(cls) or stable_name(cls), NAME_MAX),
            message=_clean(partial(str, error), TEXT_MAX),
            args=self._body(arguments) or _ABSENT,
            hidden=self._bodies(_hidden_state(error)),
            state=self._bodies(_public_state(error)),
        )

    def _linked(self, error: BaseException | None) -> _Record | None:
        if error is None or self._left <= 0 or id(error) in self._above:
            return None
        return self.record(error)

    def _members(self, errors: tuple[BaseException, ...]) -> list[_Record]:
        records = [record for error in errors if (record := self._linked(error))]
        if left_out := len(errors) - len(records):
            records.append(_Record(type="perdure.LeftOut", message=f"and {left_out} more"))
        return records

    def _body(self, value: object) -> msgspec.Raw | None:
        try:
            return msgspec.Raw(self._codec.encode(value, _PART))
        except SerializationError:
            return None

    def _bodies(self, values: dict[str, Any]) -> dict[str, msgspec.Raw]:
        left = PARTS_BYTES_MAX
        bodies: dict[str, msgspec.Raw] = {}
        for name, value in values.items():
            body = self._body(value)
            if body is not None and (size := len(name) + len(bytes(body))) <= left:
                bodies[name] = body
                left -= size
        return bodies


def _hidden_state(error: BaseException) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for base, names in _HIDDEN_STATE.items():
        # Not isinstance, which asks an instance for its `__class__`.
        for name in names if derives(type(error), base) else ():
            with suppress(AttributeError):  # of `characters_written`, where nobody has set it
                if (value := _get(error, name, base)) is not None:
                    state[name] = value
    return state


def _public_state(error: BaseException) -> dict[str, Any]:
    state = _dict_of(error)
    return {name: state[name] for name in list(state) if _is_public(name)}


def _is_public(name: object) -> bool:
    return type(name) is str and name.isascii() and not name.startswith("__")


def _notes(error: BaseException) -> list[str]:
    notes: object = _dict_of(error).get("__notes__")
    if not derives(type(notes), list):
        return []
    whole = slice(NOTES_MAX)
    texts = cast("list[object]", cast("Any", list).__getitem__(notes, whole))
    return [_clean(partial(str, note), NOTE_MAX) for note in texts]


def _clean(make: Callable[[], str], length_max: int) -> str:
    """A text from user code: guarded, a real str, without lone surrogates, at most so long."""
    try:
        text = str.encode(make(), errors="backslashreplace").decode()
    except BaseException as error:  # noqa: BLE001 - a hostile __str__ must not replace its error
        return f"<its text cannot be read: {type.__getattribute__(type(error), '__name__')}>"
    mark = " [...]"
    return text if len(text) <= length_max else text[: length_max - len(mark)] + mark


def _traceback_text(error: BaseException) -> str:
    """Where it was first raised, then where this process raised it."""
    before = recorded_traceback(error)
    if before and _get(error, "__traceback__") is None:
        return before
    lines = _clean(lambda: "".join(traceback.format_exception(error, limit=-FRAMES_MAX)), BYTES_MAX)
    return f"{before}\n{lines}" if before else lines


def _end(text: str) -> str:
    mark = "[...] "
    return text if len(text) <= TRACEBACK_MAX else mark + text[len(mark) - TRACEBACK_MAX :]


def _can_be_shown(error: Any) -> bool:
    """Whether `traceback` can print it: it counts columns of whatever these attributes are."""
    numbers = (error.lineno, error.offset, error.end_lineno, error.end_offset)
    texts = (error.filename, error.text)
    return all(isinstance(each, int | None) for each in numbers) and all(
        isinstance(each, str | None) for each in texts
    )


# --- decode --------------------------------------------------------------------------------------


class _Decoder:
    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._codec: Codec = codec_for(Any, registry)

    def exception(self, record: _Record, levels: int) -> BaseException:
        error = self._rebuilt(record, levels)
        if error is None:
            error = TaskError(record.type, record.message, record.traceback)
        state = _dict_of(error)
        if record.notes:
            state["__notes__"] = list(record.notes)
        if record.traceback:
            state[TRACEBACK_ATTRIBUTE] = record.traceback
        if levels > 1:
            for name in ("cause", "context"):
                if linked := getattr(record, name):
                    _set(error, f"__{name}__", self.exception(linked, levels - 1))
        _set(error, "__suppress_context__", record.suppress)
        return error

    def _rebuilt(self, record: _Record, levels: int) -> BaseException | None:
        """The exception as its own class, or None when that cannot be done for any reason."""
        cls = self._class(record.type)
        if cls is None or not issubclass(cls, BaseException) or cls is TaskError:
            return None
        if record.args == _ABSENT:
            return None
        base = next(base for base in cls.__mro__ if base in _BUILTIN_ERRORS)
        try:
            arguments = self._value(record.args)
            if record.members and levels > 1:
                arguments = (*arguments, [self.exception(m, levels - 1) for m in record.members])
            error = cast("Any", base).__new__(cls, *arguments)
            # The __init__ of the built-in base: it sets what OSError and its like keep in C.
            cast("Any", base).__init__(error, *arguments)
            self._restore(error, record)
        except Exception:  # noqa: BLE001 - a damaged or outdated record must not hide the error
            return None
        if derives(cls, SyntaxError) and not _can_be_shown(error):
            return None
        return cast("BaseException", error)

    def _value(self, body: msgspec.Raw) -> Any:
        return self._codec.decode(bytes(body), _PART)

    def _class(self, name: str) -> type | None:
        # Not asyncio.CancelledError: a TaskGroup takes one that a task or a child failed with for a
        # cancellation of its own, and goes on as if nothing had failed.
        return _BUILTIN_NAMES.get(name) or self._registry.find(name)

    def _restore(self, error: BaseException, record: _Record) -> None:
        for base, names in _HIDDEN_STATE.items():
            for name in names if derives(type(error), base) else ():
                if name in record.hidden:
                    value = self._value(record.hidden[name])
                    _slot(name, base).__set__(error, value)
        for name, raw in record.state.items():
            if _is_public(name):
                _dict_of(error)[name] = self._value(raw)
