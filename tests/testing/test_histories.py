"""Histories: exported, replayed against today's code, and refused where they are not whole."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import Perdure, wf
from perdure.errors import (
    Divergence,
    InvocationNotFound,
    PerdureError,
    RegistrationError,
    UnknownName,
)
from perdure.testing import HistoryInvalid, export_history, replay_history, skip_time
from perdure.testing.histories import _seal, encode_history, read_history

calls: list[str] = []


def shop(*, then: str = "pack", is_async: bool = False) -> tuple[Perdure, Any]:
    """The app of a shop; `then` is what its workflow calls second."""
    app = Perdure("memory://", name="shop")

    @app.task(name="pay")
    def pay(cents: int) -> str:
        calls.append("pay")
        return f"paid {cents}"

    @app.task(name=then)
    def second(what: str) -> str:
        calls.append(then)
        return what

    def order(cents: int) -> list[Any]:
        paid = pay(cents)
        wf.sleep(timedelta(days=30))
        return [paid, second(paid), wf.uuid(), wf.now()]

    async def aorder(cents: int) -> list[Any]:
        paid = await pay.acall(cents)
        await wf.sleep(timedelta(days=30))
        return [paid, await second.acall(paid), wf.uuid(), wf.now()]

    return app, app.workflow(name="order")(aorder if is_async else order)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The history of an order that has ended."""
    app, order = shop()
    path = tmp_path / "order.json"
    with skip_time(app):
        order.options(id="o1").start(1999).result()
        export_history(app, "o1", path)
    calls.clear()
    return path


@pytest.mark.parametrize("is_async", [False, True])
def test_the_same_code_replays_to_the_end_and_calls_nothing(tmp_path: Path, is_async: bool) -> None:
    app, order = shop(is_async=is_async)
    path = tmp_path / "order.json"
    with skip_time(app) as clock:
        started = order.options(id="o1").start(1999)
        clock.advance(timedelta(days=1))
        export_history(app, "o1", path)
        half = replay_history(path, shop(is_async=is_async)[1])
        result = started.result()
        export_history(app, "o1", path)
    calls.clear()
    found = replay_history(path, shop(is_async=is_async)[1])
    assert (half.finished, found.finished, found.value) == (False, True, result)
    assert found.entries > half.entries
    assert not calls


def test_code_that_asks_for_something_else_is_found(file: Path) -> None:
    with pytest.raises(Divergence, match=r"recorded: task 'pack'[^$]*now: +task 'wrap'"):
        replay_history(file, shop(then="wrap")[1])
    assert not calls


def test_a_history_is_of_one_workflow_by_any_of_its_names(file: Path) -> None:
    app = Perdure("memory://")

    @app.workflow
    def other() -> None: ...

    with pytest.raises(UnknownName, match=r"history of 'order'.*aliases"):
        replay_history(file, other)
    with pytest.raises(RegistrationError, match="no workflow"):
        replay_history(file, "order")


def test_what_has_no_history_cannot_be_exported(tmp_path: Path) -> None:
    app, _ = shop()
    with skip_time(app) as clock:
        with pytest.raises(InvocationNotFound, match="o2"):
            export_history(app, "o2", tmp_path / "o2.json")
        app.named("pay").options(id="p1").start(1)
        clock.advance(1)
        with pytest.raises(RegistrationError, match="is a task"):
            export_history(app, "p1", tmp_path / "p1.json")


def changed(file: Path, **members: Any) -> None:
    """Write other members into the document."""
    document = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(document | members), "utf-8")


def test_a_history_may_be_laid_out_anew(file: Path) -> None:
    changed(file)
    assert replay_history(file, shop()[1]).finished


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"version": 2}, "version is 2, and this perdure reads version 1"),
        ({"version": "1"}, "Expected `int`"),
        ({"format": "pickle"}, "format is 'pickle'"),
        ({"seal": "00"}, "seal does not fit"),
        ({"journal": []}, "seal does not fit"),
        ({"journal": 7}, "Expected `array`"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_another_version_or_a_change_is_refused(
    file: Path, members: dict[str, Any], told: str
) -> None:
    changed(file, **members)
    with pytest.raises(HistoryInvalid, match=told):
        replay_history(file, shop()[1])


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(65)])
def test_a_seed_of_another_length_is_refused(file: Path, seed: bytes) -> None:
    """Also with a seal that fits: no draw could be made with it."""
    history = read_history(file)
    row = msgspec.structs.replace(history.workflow, seed=seed)
    other = msgspec.structs.replace(history, workflow=row)
    file.write_bytes(encode_history(msgspec.structs.replace(other, seal=_seal(other))))
    with pytest.raises(HistoryInvalid, match="length"):
        replay_history(file, shop()[1])


def test_what_is_too_large_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("perdure.testing.histories.BYTES_MAX", 100)
        with pytest.raises(HistoryInvalid, match="more than 100 bytes"):
            replay_history(file, shop()[1])
    monkeypatch.setattr("perdure.testing.histories.ENTRIES_MAX", 1)
    with pytest.raises(HistoryInvalid, match="more than 1 entries"):
        replay_history(file, shop()[1])


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"null", b'{"format":1}']
)
def test_what_is_no_history_is_refused(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    with pytest.raises(HistoryInvalid, match="workflow export"):
        replay_history(file, shop()[1])


def test_every_damage_is_a_typed_error(file: Path) -> None:
    text, order = file.read_bytes(), shop()[1]

    @settings(max_examples=150)
    @given(st.integers(0, len(text) - 1), st.binary(min_size=1, max_size=3))
    def damage(at: int, new: bytes) -> None:
        if text[at : at + len(new)] == new:
            return
        file.write_bytes(text[:at] + new + text[at + len(new) :])
        try:
            found = replay_history(file, order)
        except PerdureError:
            return
        # Only what is between the members of the document may change unseen.
        assert found.finished
        assert json.loads(file.read_bytes()) == json.loads(text)

    damage()
