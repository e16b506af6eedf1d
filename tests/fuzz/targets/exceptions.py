"""Recorded exceptions: any record gives one, it can be shown, and it settles after one trip."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from perdure.errors import DeserializationError, PerdureError
from perdure.values import (
    TypeRegistry,
    decode_exception,
    encode_exception,
    headline,
    is_record_of,
    notes_of,
    recorded_traceback,
    with_notes,
    without_traceback,
)
from tests.fuzz.targets import Target
from tests.fuzz.targets.values import BOMBS
from tests.values.test_exceptions import ShopError, SoldOut, Unprintable, built_in, facts

_REGISTRY = TypeRegistry()
_REGISTRY.register(ShopError)


def _raised() -> Iterator[BaseException]:
    """With tracebacks, causes, contexts and notes."""
    for error in [
        *built_in(),
        ShopError(7, hint=("x", 1)),
        SoldOut(8),
        Unprintable("x"),
    ]:
        try:
            try:
                raise KeyError("context")
            except KeyError:
                raise error  # noqa: B904 - it is to have a context
        except BaseException as caught:
            caught.add_note("a note")
            caught.__cause__ = ShopError(9)
            yield caught


def _read(body: bytes) -> None:
    first = decode_exception(body, _REGISTRY)
    assert isinstance(first, BaseException)
    repr(first)
    recorded_traceback(first)
    "".join(traceback.format_exception(first))
    # A record that is over our limits of notes, names and levels is cut to them, once.
    second = decode_exception(encode_exception(first, _REGISTRY), _REGISTRY)
    third = decode_exception(encode_exception(second, _REGISTRY), _REGISTRY)
    assert facts(second) == facts(third)
    headline(body)
    notes_of(body)
    is_record_of(body, PerdureError)
    decode_exception(with_notes(body, ["one", "two"]), _REGISTRY)
    decode_exception(without_traceback(body), _REGISTRY)


def _nested(member: bytes, levels: int) -> bytes:
    """A record with records in it."""
    head = b'{"type":"builtins.ValueError","message":"m","' + member
    opened, closed = (b'":[', b"]}") if member == b"members" else (b'":', b"}")
    inner = b'{"type":"x","message":"y"}'
    return (head + opened) * levels + inner + closed * levels


def exception() -> Target:
    """Any exception."""
    members = (b"cause", b"context", b"members")
    return Target(
        "exception",
        [
            *(encode_exception(error, _REGISTRY) for error in _raised()),
            *(_nested(member, levels) for member in members for levels in (2, 15, 17, 80)),
        ],
        _read,
        typed=(DeserializationError,),
        bombs=(*(_nested(member, 50_000) for member in members), *BOMBS),
        words=(
            *("args", "hidden", "state", "notes", "cause", "context", "members", "traceback"),
            *("builtins.BaseExceptionGroup", "builtins.ExceptionGroup", "builtins.OSError"),
            *("builtins.UnicodeDecodeError", "builtins.UnicodeEncodeError", "builtins.SyntaxError"),
            *("builtins.BlockingIOError", "builtins.SystemExit", "builtins.StopIteration"),
            *("asyncio.exceptions.CancelledError", "perdure.errors.TaskError"),
            *("perdure.errors.Suspended", "perdure.errors.LeaseLost", "perdure.errors.Cancelled"),
            *("tests.values.test_exceptions.ShopError", "tests.values.test_exceptions.SoldOut"),
            *("__notes__", "__cause__", "__class__", "__traceback__", "__perdure_traceback__"),
            *("filename", "characters_written", "errno"),
        ),
    )
