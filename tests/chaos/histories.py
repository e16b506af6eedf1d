"""Clients that ask one invocation for many things at once, as histories to be checked.

Who asks what follows from a seed; what overlaps is up to the machine. Clients live in processes of
their own and are killed now and then, as are the workers.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from perdure import Perdure
from perdure.testing.linearizability import Call, ClientHistory, InvocationModel, ask, check, start
from tests.chaos.fleet import ROOT, Child, Fleet, until
from tests.chaos.program import Log
from tests.support.processes import SOURCES, put_away, start_python

NAME = "words"
CLIENTS = 4
CALLS = 3
"""Of each client, in its turn; more of both make the search for an order long."""
PATIENCE = 30.0
WEIGHTS = {"send": 8, "status": 2, "result": 3, "pause": 2, "resume": 2, "cancel": 1, "start": 1}
RARE = ("accepted twice", "ended", "timeout")
"""What a few dozen histories must have seen, or they prove little."""
RARER = ("no result", "conflict", "paused", "no answer")
"""The same of hundreds."""
MANY = 200


class Recorder(Protocol):
    """Where calls are written down."""

    def call(self, client: str, name: str, given: str, run: Callable[[], str]) -> str | None:
        """See `ClientHistory.call`."""


@dataclass
class Script:
    """What the clients of one history ask."""

    id: str
    wanted: int
    calls: list[list[tuple[str, str]]]

    @classmethod
    def of(cls, seed: int) -> Script:
        """The one of this seed."""
        chance = random.Random(seed)
        names = list(WEIGHTS)
        weights = list(WEIGHTS.values())
        wanted = chance.randint(1, 3)
        calls: list[list[tuple[str, str]]] = []
        for client in range(CLIENTS):
            picked = chance.choices(names, weights, k=CALLS)
            if picked[-1] == "cancel" and chance.random() < 0.2:
                picked[-1] = "terminate"
            calls.append([(name, _given(name, client, wanted, chance)) for name in picked])
        return cls(f"h{seed}", wanted, calls)


def _given(name: str, client: int, wanted: int, chance: random.Random) -> str:
    if name == "send":
        return f"m{chance.randint(0, 5)}=c{client}w{chance.randint(0, 99)}"
    if name == "start":
        return str(wanted if chance.random() < 0.7 else wanted + 1)
    return ""


def play(app: Perdure, history: Recorder, script: Script, client: int) -> None:
    """All calls of one client."""
    who = f"client {client}"
    for name, given in script.calls[client]:
        make(app, history, script.id, who, (name, given))


def make(app: Perdure, history: Recorder, id_: str, who: str, call: tuple[str, str]) -> str | None:
    """One call, written down."""
    name, given = call
    run = partial(start, app, NAME, id_, given) if name == "start" else None
    return history.call(who, name, given, run or partial(ask, app, id_, name, given))


def begin(app: Perdure, history: Recorder, script: Script) -> None:
    """Start it, until that is acknowledged."""
    while make(app, history, script.id, "first", ("start", str(script.wanted))) is None:
        continue


def finish(app: Perdure, history: Recorder, script: Script) -> None:
    """Let it come to its end, and see it twice. It must end."""
    make_it = partial(make, app, history, script.id, "last")
    for number in range(script.wanted):
        make_it(("send", f"f{number}=f{number}"))
    deadline = time.monotonic() + PATIENCE
    while True:
        make_it(("resume", ""))
        if make_it(("result", "0.5")) not in {"timeout", None}:
            break
        assert time.monotonic() < deadline, f"{script.id} does not come to its end"
    for name in ("status", "result"):
        make_it((name, ""))
    make_it(("send", "late=late"))


def expected(histories: int) -> tuple[str, ...]:
    """What so many histories must have seen."""
    return (*RARE, *RARER) if histories >= MANY else RARE


def count(calls: Sequence[Call], counters: Counter[str]) -> None:
    """What happened, for the ledger."""
    accepted = Counter(
        call.given.partition("=")[0]
        for call in calls
        if call.name == "send" and call.answer == "ok"
    )
    counters.update(dict.fromkeys((*RARE, *RARER), 0))
    counters["accepted twice"] += sum(1 for times in accepted.values() if times > 1)
    for call in calls:
        counters["calls"] += 1
        answer = "no answer" if call.answer is None else call.answer
        if answer in {*RARE, *RARER}:
            counters[answer] += 1


def judge(calls: Sequence[Call], counters: Counter[str], seed: int) -> None:
    """The history must be one that the model could have given."""
    verdict = check(calls, InvocationModel())
    counters["histories"] += 1
    counters["states"] += verdict.looks
    count(calls, counters)
    assert verdict.holds, f"history {seed}: {verdict}"


# --- processes ----------------------------------------------------------------------------------

PROCESSES = 2
"""Of clients; each has its share of the clients of a history."""


class Clients:
    """A process of clients, which plays what it is told and can be killed in it."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._start = partial(
            start_python,
            *(
                "-m",
                "tests.chaos.clients",
                fleet.url,
                fleet.folder / f"calls-{number}",
                str(number),
            ),
            folder=fleet.folder,
            PYTHONPATH=f"{SOURCES}:{ROOT}",
        )
        self.log = Log(fleet.folder / f"calls-{number}")
        self._read = 0
        self.child: Child = self._start()

    def play(self, seed: int) -> None:
        """Let it begin; `await_end` says when it is over."""
        assert self.child.stdin is not None
        self.child.stdin.write(f"{seed}\n")
        self.child.stdin.flush()

    def await_end(self, seed: int) -> None:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line == f"{seed}\n", f"{line}{self.child.stderr and self.child.stderr.read()}"

    def kill(self) -> None:
        """In the middle of whatever it does, once it has asked for something."""
        until(lambda: len(self.log.lines()) > self._read, "a call of a client")
        self.child.kill()
        put_away(self.child)
        self.child = self._start()

    def calls(self) -> list[Call]:
        """What was asked since the last time; without an answer, if none was written down."""
        lines = self.log.lines()[self._read :]
        self._read += len(lines)
        answers = {(pid, n): rest for what, pid, n, *rest in lines if what == "answered"}
        found = []
        for what, pid, n, *rest in lines:
            if what == "asked":
                client, name, given, begun = rest
                answer, ended = answers.get((pid, n), (None, None))
                found.append(
                    Call(
                        client=client,
                        name=name,
                        given=given,
                        answer=answer,
                        begun=begun,
                        ended=ended,
                    )
                )
        return found


def campaign(fleet: Fleet, count: int, counters: Counter[str]) -> None:
    """So many histories, each judged; counts what happened."""
    fleet.workers(2)
    processes = [Clients(fleet, number) for number in range(PROCESSES)]
    try:
        for number in range(count):
            calls = _played(fleet, processes, Script.of(fleet.seed + number), number, counters)
            judge(calls, counters, fleet.seed + number)
    finally:
        for each in processes:
            put_away(each.child)
    fleet.stop_all()
    fleet.audit()


def _played(
    fleet: Fleet, processes: list[Clients], script: Script, number: int, counters: Counter[str]
) -> list[Call]:
    seed = fleet.seed + number
    history = ClientHistory()
    begin(fleet.app, history, script)
    for each in processes:
        each.play(seed)
    victim = None
    if number % 7 == 3:
        victim = fleet.chance.choice(processes)
        victim.kill()
        counters["clients killed"] += 1
    if number % 7 == 5:
        fleet.kill(fleet.chance.choice(fleet.living()))
        fleet.workers(1)
        counters["workers killed"] += 1
    for each in processes:
        if each is not victim:
            each.await_end(seed)
    finish(fleet.app, history, script)
    return [*history.calls(), *(call for each in processes for call in each.calls())]
