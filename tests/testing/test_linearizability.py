"""The checker finds what is no story, and takes what is one; real clients give only stories."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from perdure import Perdure
from perdure.backends.letters import Sent
from perdure.backends.memory import MemoryBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.engine.env import SystemEnv
from perdure.errors import BackendUnavailable, CommitUnknown
from perdure.testing.linearizability import (
    Call,
    ClientHistory,
    InvocationModel,
    check,
    receive_words,
)
from tests.chaos.child import make_worker
from tests.chaos.histories import (
    CLIENTS,
    NAME,
    RARE,
    Script,
    begin,
    finish,
    judge,
    make,
    play,
)
from tests.support.stores import in_threads


def calls_of(*told: str) -> list[Call]:
    """Calls from "begun-ended client name given -> answer"; "begun-" has no answer."""
    found = []
    for line in told:
        asked, _, answer = line.partition(" -> ")
        times, client, name, *given = asked.split(" ", 3)
        begun, _, ended = times.partition("-")
        found.append(
            Call(
                client=client,
                name=name,
                given="".join(given),
                answer=answer if ended else None,
                begun=int(begun),
                ended=int(ended) if ended else None,
            )
        )
    return found


class Register:
    """One cell: the usual example."""

    def first(self) -> str:
        return "0"

    def after(self, state: str, call: Call) -> Iterator[str]:
        if call.name == "write":
            yield call.given
        elif call.answer in {None, state}:
            yield state

    def by_itself(self, state: str) -> Iterator[str]:
        del state
        return iter(())


@pytest.mark.parametrize(
    ("told", "holds"),
    [
        ((), True),
        (("0-1 a write 1 -> ok", "2-3 b read -> 1"), True),
        (("0-1 a write 1 -> ok", "2-3 b read -> 0"), False),
        (("0-9 a write 1 -> ok", "2-3 b read -> 0", "4-5 b read -> 1"), True),
        (("0-9 a write 1 -> ok", "2-3 b read -> 1", "4-5 b read -> 0"), False),
        (("0- a write 1", "2-3 b read -> 0", "4-5 b read -> 1", "6-7 b read -> 1"), True),
        (("0- a write 1", "2-3 b read -> 1", "4-5 b read -> 0"), False),
        (("5- a write 1", "2-3 b read -> 1"), False),
        (("0-9 a write 1 -> ok", "0-9 b write 2 -> ok", "10-11 c read -> 1"), True),
        (
            (
                "0-9 a write 1 -> ok",
                "0-9 b write 2 -> ok",
                "10-11 c read -> 1",
                "12-13 c read -> 2",
            ),
            False,
        ),
    ],
)
def test_a_register(told: tuple[str, ...], holds: bool) -> None:
    assert check(calls_of(*told), Register()).holds is holds


def test_what_does_not_fit_is_told() -> None:
    verdict = check(calls_of("0-1 a write 1 -> ok", "2-3 b read -> 0"), Register())
    assert verdict.kind == "broken"
    assert [call.name for call in verdict.order] == ["write"]
    assert [call.name for call in verdict.left] == ["read"]
    assert "b at 2: read('') -> '0' at 3" in str(verdict)


def test_a_search_that_is_too_long_is_given_up() -> None:
    writes = [f"0-99 c{n} write {n} -> ok" for n in range(12)]
    told = calls_of(*writes, "100-101 c read -> none of them")
    assert check(told, Register(), looks_max=50).kind == "undecided"


STARTED = "0-1 a start 2 -> ok"
SENT = ("2-3 a send m1=x -> ok", "4-5 a send m2=y -> ok")


@pytest.mark.parametrize(
    "told",
    [
        (
            STARTED,
            *SENT,
            "6-7 a result -> x y",
            "8-9 b send m3=z -> ended",
            "10-11 b start 3 -> conflict",
        ),
        (
            STARTED,
            *SENT,
            "6-7 a result -> timeout",
            "8-9 a result -> x y",
            "10-11 a cancel -> ended",
        ),
        (STARTED, "2-5 a send m1=x -> ok", "2-5 b send m2=y -> ok", "6-7 a result -> y x"),
        (STARTED, *SENT, "6-7 b send m1=other -> ok", "8-9 a result -> x y"),
        (STARTED, "2-3 a cancel -> ok", "4-5 a send m1=x -> ok", "6-7 a result -> no result"),
        (STARTED, "2- a send m1=x", "4-5 a send m2=y -> ok", "6-7 a result -> x y"),
        (
            STARTED,
            "2-3 a pause -> ok",
            "4-5 a status -> live",
            "6-7 a status -> paused",
            "8-9 a resume -> yes",
        ),
        ("0-1 b status -> missing", "2-3 a start 1 -> ok", "4-5 b status -> live"),
    ],
)
def test_what_an_invocation_may_answer(told: tuple[str, ...]) -> None:
    verdict = check(calls_of(*told), InvocationModel())
    assert verdict.holds, str(verdict)


PLANTED = {
    "an acknowledged message is lost": (
        STARTED,
        *SENT,
        "6-7 b send m3=z -> ok",
        "8-9 a result -> x z",
    ),
    "a message is received twice": (STARTED, SENT[0], "6-7 a result -> x x"),
    "messages overtake each other": (STARTED, *SENT, "6-7 a result -> y x"),
    "a repeated message counts again": (
        STARTED,
        SENT[0],
        "4-5 b send m1=w -> ok",
        "6-7 a result -> x w",
    ),
    "the result changes": (
        STARTED,
        *SENT,
        "6-7 b send m3=z -> ok",
        "8-9 a result -> x y",
        "10-11 a result -> y z",
    ),
    "a message is accepted after the end": (
        STARTED,
        *SENT,
        "6-7 a result -> x y",
        "8-9 b send m3=z -> ok",
    ),
    "a refused message is received": (
        STARTED,
        SENT[0],
        "4-5 a send m2=y -> ended",
        "6-7 a result -> x y",
    ),
    "a cancellation is forgotten": (
        STARTED,
        "2-3 b cancel -> ok",
        "4-5 a send m1=x -> ok",
        "6-7 a send m2=y -> ok",
        "8-9 a result -> x y",
    ),
    "it comes back from its end": (STARTED, "2-3 b terminate -> ok", "4-5 a status -> live"),
    "an acknowledged start is gone": (STARTED, "2-3 a status -> missing"),
    "two inputs are both accepted": (STARTED, "2-3 b start 3 -> ok"),
    "nobody paused it": (STARTED, "2-3 a resume -> yes"),
    "a paused one completes": (
        STARTED,
        SENT[0],
        "4-5 a pause -> ok",
        "6-7 a status -> paused",
        "8-9 a send m2=y -> ok",
        "10-11 a result -> x y",
    ),
    "a message from nowhere": (STARTED, *SENT, "6-7 a result -> x q"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_it_may_never_answer(what: str) -> None:
    verdict = check(calls_of(*PLANTED[what]), InvocationModel())
    assert verdict.kind == "broken"
    assert verdict.left


# --- real clients -------------------------------------------------------------------------------


EACH = 35
"""Histories on each store; `tests/chaos/test_histories.py` has those of several processes."""


class Shaky:
    """A backend whose answers get lost now and then, before or after it did what was asked."""

    def __init__(self, inner: Any, seed: int, rate: float = 0.15) -> None:
        self._inner = inner
        self._chance = random.Random(seed)
        self._rate = rate
        for name in ("start", "send", "seize", "commit", "claim"):
            setattr(self, name, self._shaky(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        """It belongs to the test."""

    def _shaky(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            luck = self._chance.random()
            if luck < self._rate:
                raise CommitUnknown("a planted fault: not done")
            if luck < 2 * self._rate:
                call(*given, **named)
                raise CommitUnknown("a planted fault: done")
            if luck < 2.2 * self._rate:
                raise BackendUnavailable("a planted fault: away")
            return call(*given, **named)

        return run


def app_on(backend: Any, **settings: Any) -> Perdure:
    app = Perdure(backend=backend, local_worker=False, **settings)
    app.workflow(name=NAME)(receive_words)
    return app


def test_clients_and_workers_whose_answers_get_lost(tmp_path: Any) -> None:
    """Half of the histories in memory and half on SQLite."""
    counters: Counter[str] = Counter()
    seed = random.SystemRandom().getrandbits(32)
    memory = MemoryBackend(SystemEnv().now)
    sqlite = SQLiteBackend(tmp_path / "perdure.db", synchronous="normal")
    for number, inner in enumerate((memory, sqlite)):
        apps = [app_on(Shaky(inner, seed + n)) for n in range(CLIENTS)]
        served = app_on(Shaky(inner, seed - 1, rate=0.05), lease=1.0, grace=0.0)
        worker = make_worker(served, 4)
        try:
            for each in range(EACH):
                script = Script.of(seed + EACH * number + each)
                judge(played(apps, script), counters, seed + EACH * number + each)
        finally:
            served.runtime.stopping.set()
            worker.stop(20)
            for app in (*apps, served):
                app.close()
    sqlite.close()
    print(f"seed {seed}: {dict(counters)}")
    assert counters["histories"] == 2 * EACH
    assert [name for name in RARE if not counters[name]] == []


def played(apps: list[Perdure], script: Script) -> list[Call]:
    history = ClientHistory()
    begin(apps[0], history, script)
    in_threads(CLIENTS, lambda client: play(apps[client], history, script, client))
    finish(apps[0], history, script)
    return history.calls()


class Forgetful(MemoryBackend):
    """Acknowledges every message that it is sent, and keeps the first one only."""

    def send(self, key: Any, letter: Any) -> Sent:
        if letter.letter_id.startswith("lost"):
            return Sent.ACCEPTED
        return super().send(key, letter)


class Echo(MemoryBackend):
    """Delivers each message twice."""

    def send(self, key: Any, letter: Any) -> Sent:
        super().send(key, msgspec.structs.replace(letter, letter_id=f"{letter.letter_id}+"))
        return super().send(key, letter)


class Backwards(MemoryBackend):
    """Shows what comes in the wrong order."""

    def read_inbox(self, key: Any) -> Any:
        return list(reversed(super().read_inbox(key)))


@pytest.mark.parametrize("kind", [MemoryBackend, Forgetful, Echo, Backwards])
def test_a_backend_that_breaks_the_rules_is_found_out(kind: type[MemoryBackend]) -> None:
    app = app_on(kind(SystemEnv().now))
    history = ClientHistory()
    try:
        for call in (
            ("start", "2"),
            ("send", "lost=a"),
            ("send", "m1=b"),
            ("send", "m2=c"),
        ):
            make(app, history, "h", "one", call)
        worker = make_worker(app, 1)
        make(app, history, "h", "one", ("result", "30"))
        app.runtime.stopping.set()
        worker.stop(20)
    finally:
        app.close()
    assert check(history.calls(), InvocationModel()).holds is (kind is MemoryBackend)


def test_what_another_exception_interrupts_has_no_answer() -> None:
    history = ClientHistory()
    with pytest.raises(ZeroDivisionError):
        history.call("a", "send", "", lambda: str(1 / 0))
    (call,) = history.calls()
    assert (call.answer, call.ended) == (None, None)
