"""What servers have for each other arrives once, whatever fails on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.base import NewInvocation
from perdure.backends.memory_server import MemoryServer
from perdure.backends.server import Outbox
from perdure.backends.sharded import relay
from perdure.backends.sharded import servers as members
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.env import SystemEnv
from perdure.errors import BackendUnavailable, CommitUnknown, ServerListMismatch
from tests.servers.apps import id_on, make_app, spread
from tests.support.stores import LONG, in_threads, run_until_idle, step

CARRIED = ("outbox", "accept_asks", "accept_ends", "sent")


class Struck(MemoryServer):
    """Fails at the call of a number, counted over all servers that share `calls`.

    Attributes:
        made: whether the call is made before it fails.
    """

    def __init__(self, calls: list[str], number: int, *, made: bool) -> None:
        super().__init__()
        self.calls, self.number, self.made = calls, number, made

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._failing(found, name) if name in CARRIED else found

    def _failing(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) != self.number:
                return call(*args)
            if self.made:
                call(*args)
                raise CommitUnknown("struck after it")
            raise BackendUnavailable("struck before it")

        return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that failed is asked again at once."""
    monkeypatch.setattr(members, "BACKOFF_FIRST_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("made", [False, True])
def test_an_end_is_delivered_once_whichever_step_fails(made: bool) -> None:
    number = 0
    struck: set[str] = set()
    while True:
        number += 1
        calls: list[str] = []
        servers = [Struck(calls, number, made=made) for _ in range(2)]
        backend = spread(*servers)
        app, ran, (_, parent) = make_app(backend)
        given = [id_on(backend, servers, 2, "kid"), id_on(backend, servers, 2, "other")]
        top = parent.options(id=id_on(backend, servers, 1, "top")).start(given)
        for _ in range(3):
            run_until_idle(app)
        if len(calls) < number:
            break
        struck.add(calls[number - 1])
        assert top.result(5)[:2] == [each.upper() for each in given]
        assert {each: ran[each] for each in given} == dict.fromkeys(given, 1)
        entries = backend.read_journal(InvocationKey(top.invocation_id, 1))
        done = [entry.name for entry in entries if entry.kind == EntryKind.DONE]
        assert len(done) == len(set(done))
        for _ in range(2):
            backend.carry()
        assert [server.outbox((1, 2), 10) for server in servers] == [Outbox([], [])] * 2
    assert struck == set(CARRIED)


class Away(MemoryServer):
    """Refuses what is in `refused`; everything while that is None."""

    refused: frozenset[str] | None = frozenset()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        # A fork in a later test calls the hooks of each server that is not collected yet.
        if name.startswith("_") or "_fork" in name or name in ("refused", "go_by", "close"):
            return found
        refused = super().__getattribute__("refused")
        if refused is None or name in refused:
            raise BackendUnavailable("down for a while")
        return found


@pytest.mark.usefixtures("impatient")
def test_a_workflow_waits_while_the_server_of_its_child_is_down() -> None:
    servers = [Away(), Away()]
    backend = spread(*servers)
    app, ran, (_, parent) = make_app(backend)
    given = id_on(backend, servers, 2, "kid")
    top = parent.options(id=id_on(backend, servers, 1, "top")).start([given])
    servers[1].refused = None
    for _ in range(30):
        (attempt,) = step(app)
        assert isinstance(attempt.error, BackendUnavailable)
    record = backend.read(top.invocation_id)
    assert record is not None
    assert (record.state, record.crashes) == ("ready", 0)
    servers[1].refused = frozenset()
    run_until_idle(app)
    assert top.result(5)[0] == given.upper()
    assert ran[given] == 1


def test_what_is_for_a_server_that_is_down_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "ROWS_MAX", 1)
    servers = [Away(), Away(), Away()]
    backend = spread(*servers)
    app, _, (child, parent) = make_app(backend)
    kids = [id_on(backend, servers, position, "kid") for position in (2, 3)]
    tops = [id_on(backend, servers, 1, f"top-{n}") for n in range(2)]
    for kid in kids:
        child.options(id=kid).start(kid)
    run_until_idle(app)
    servers[1].refused = frozenset({"accept_asks"})
    for top, kid in zip(tops, kids, strict=True):
        parent.options(id=top).start([kid])
    run_until_idle(app)
    ended = [record.state == "completed" for top in tops if (record := backend.read(top))]
    assert ended == [False, True]


def test_a_process_of_the_older_list_gives_back_what_it_may_not_go_on_with() -> None:
    """A rolling restart: what was begun under the old list ends under the new one, uncounted."""
    shared = MemoryServer()
    old, _, (_, parent) = make_app(spread(shared))
    top = parent.options(id="top").start([])
    new_backend = spread(shared, MemoryServer())
    new_backend.store_id()
    shared.go_by(1)
    for _ in range(30):
        (attempt,) = step(old)
        assert isinstance(attempt.error, ServerListMismatch)
    record = shared.read("top")
    assert record is not None
    assert (record.state, record.crashes) == ("ready", 0)
    shared.go_by(2)
    new, ran, _ = make_app(new_backend)
    run_until_idle(new)
    assert new.named("parent").get(top.invocation_id).result(5) == ["OWN-0", "OWN-1"]
    assert ran == {"own-0": 1, "own-1": 1}


@pytest.mark.keeps_frames("it counts attempts")
def test_timers_go_by_the_clock_of_their_own_server() -> None:
    """With one of them an hour ahead a timer is due once, and not again and again."""
    hour = 3_600_000_000
    at = [1_700_000_000_000_000]
    servers = [MemoryServer(lambda: at[0]), MemoryServer(lambda: at[0] + hour)]
    backend = spread(*servers)
    app, _, (_, _) = make_app(backend)
    sleeper = app.named("sleeper")
    for position in (1, 2):
        handle = sleeper.options(id=id_on(backend, servers, position, "nap")).start()
        assert run_until_idle(app) == 1
        at[0] += 60_000_000
        assert run_until_idle(app) == 1
        assert handle.result(5) == "rested"


def test_start_of_one_id_by_many_threads_and_two_lists_at_once() -> None:
    for round_ in range(20):
        first, second = MemoryServer(), MemoryServer()
        new = NewInvocation(
            invocation_id=f"order-{round_}",
            app="perdure",
            kind="workflow",
            name="w",
            arguments=b"{}",
            fingerprint=bytes(16),
            call_id="w",
        )
        backends = [spread(first, second) for _ in range(4)]

        def start(number: int, backends: Any = backends, new: Any = new) -> Any:
            return backends[number].start(new, "return").created

        assert sum(in_threads(4, start)) == 1
        assert sum(server.read(new.invocation_id) is not None for server in (first, second)) == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_a_lease_lasts_as_long_on_a_server_whose_clock_is_off(hours: int) -> None:
    """By another server's clock it would be over at once, or be relied on for an hour."""
    now = SystemEnv().now
    servers = [MemoryServer(now), MemoryServer(lambda: now() + hours * 3_600_000_000)]
    backend: Any = spread(*servers)
    backend._turns = itertools.repeat(0)  # each claim asks the first server first
    app = Perdure(backend=backend, lease=20.0)
    left: list[float] = []

    @app.task
    def look() -> str:
        confirmed = app.runtime.leases._confirmed.values()
        left.append(max(confirmed) - app.runtime.env.monotonic())
        return "looked"

    @app.workflow(name="main")
    def main() -> str:
        return look()

    named = app.named("main").options(id=id_on(backend, servers, 2, "far"))
    assert named.start().result(LONG) == "looked"
    app.close()
    assert len(left) == 1
    assert 0 < left[0] <= 20.0
