"""One app on several servers: what is started runs once, wherever it lives and whoever waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    NewInvocation,
    OnExisting,
    StartClaim,
    Started,
    Transition,
)
from perdure.backends.memory_server import MemoryServer
from perdure.backends.server import Outbox, Server
from perdure.backends.sqlite import SQLiteBackend
from perdure.errors import (
    BackendUnavailable,
    PerdureError,
    SchemaMismatch,
    ServerListMismatch,
    StartConflict,
)
from tests.servers.apps import id_on, make_app, spread
from tests.support.stores import run_until_idle

NEW = NewInvocation(
    invocation_id="a",
    app="perdure",
    kind="workflow",
    name="w",
    arguments=b"{}",
    fingerprint=bytes(16),
    call_id="w",
)


class Flaky(MemoryServer):
    """Does not answer while `down`; calls `before_start` in front of each start."""

    down = False
    before_start: Callable[[], None] | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        # A fork in a later test calls the hooks of each server that is not collected yet.
        own = name.startswith("_") or name in ("down", "before_start", "go_by", "close")
        if not (own or "_fork" in name) and super().__getattribute__("down"):
            raise BackendUnavailable("down for a while")
        return found

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        hook, self.before_start = self.before_start, None
        if hook is not None:
            hook()
        return super().start(new, on_existing, claim)


@pytest.fixture(params=["memory", "sqlite"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    made: list[Server] = [
        MemoryServer()
        if request.param == "memory"
        else SQLiteBackend(tmp_path / f"{n}.db", synchronous="normal")
        for n in range(2)
    ]
    yield made
    for server in made:
        server.close()


def test_children_and_results_across_servers(servers):
    backend = spread(*servers)
    given = [id_on(backend, servers, position, "kid") for position in (1, 2)]
    app, ran, (_, parent) = make_app(backend)
    for position in (1, 2):
        top = parent.options(id=id_on(backend, servers, position, "top")).start(given)
        run_until_idle(app)
        assert top.result() == [id_.upper() for id_ in given] + ["OWN-0", "OWN-1"]
    assert {each: ran[each] for each in given} == dict.fromkeys(given, 1)
    for position, server in enumerate(servers, 1):
        assert server.outbox((1, 2), 10) == Outbox([], [])
        assert server.read(given[position - 1]) is not None
    derived = [row for row in app.workflows(name="child") if row.invocation_id not in given]
    for row in derived:
        parent_id, position = row.parent_id, int(row.invocation_id.rpartition(".")[2])
        assert servers[position - 1].read(parent_id) is not None


def test_a_conflict_with_a_child_elsewhere_is_raised_and_nothing_is_taken_for_it(servers):
    backend = spread(*servers)
    taken = id_on(backend, servers, 2, "kid")
    app, ran, (child, parent) = make_app(backend)
    child.options(id=taken).start("other input")
    top = parent.options(id=id_on(backend, servers, 1, "top")).start([taken])
    run_until_idle(app)
    with pytest.raises(StartConflict):
        top.result()
    assert ran[taken] == 0


def test_a_fresh_id_names_its_server_and_pages_are_merged(servers):
    app, _, (child, _) = make_app(spread(*servers))
    handles = [child.start(str(n)) for n in range(12)]
    places = {handle.invocation_id.rpartition(".")[2] for handle in handles}
    assert places == {"1", "2"}
    seen: list[str] = []
    page = app.workflows(limit=5)
    while page:
        seen += [row.invocation_id for row in page]
        page = app.workflows(limit=5, after=page[-1])
    assert sorted(seen) == sorted(handle.invocation_id for handle in handles)
    (queue,) = app.queues()
    assert queue.ready == 12
    assert app.health().backend == "2 servers"


def test_the_same_id_before_and_after_a_server_is_added_is_one(servers):
    first, second = servers
    ids = [f"order-{n}" for n in range(20)]
    for id_ in ids:
        assert first.start(replace(id_), "return").created
    both = spread(first, second)
    assert not any(both.start(replace(id_), "return").created for id_ in ids)
    assert {id_ for id_ in ids if second.read(id_)} == set()
    fresh = [f"later-{n}" for n in range(20)]
    assert all(both.start(replace(id_), "return").created for id_ in fresh)
    assert {bool(second.read(id_)) for id_ in fresh} == {True, False}


def replace(id_: str) -> NewInvocation:
    return NewInvocation(
        **{**{f: getattr(NEW, f) for f in NEW.__struct_fields__}, "invocation_id": id_}
    )


def test_a_process_of_the_older_list_is_refused(tmp_path):
    here = tmp_path / "1.db"
    old = Perdure(f"sqlite:///{here}")
    old.runtime.backend.start(replace("before"), "return")
    new = Perdure([f"sqlite:///{here}", f"sqlite:///{tmp_path / '2.db'}"])
    assert new.runtime.backend.start(replace("after"), "return").created
    with pytest.raises(ServerListMismatch, match="Restart this process with the new list"):
        old.runtime.backend.start(replace("late"), "return")
    assert new.runtime.backend.read("late") is None
    assert old.runtime.backend.read("before") is not None
    for app in (old, new):
        app.close()


def test_a_start_in_flight_while_a_server_is_added_is_seen_or_refused():
    """The list is published between the look of the old process and its start."""
    shared = [Flaky(), Flaky()]
    old = spread(shared[0])
    old.store_id()
    started: list[bool] = []

    def add_a_server() -> None:
        both = spread(*shared)
        started.append(both.start(replace("a"), "return").created)
        shared[0].go_by(1)  # what the old process goes by; here both share the object

    shared[0].before_start = add_a_server
    with pytest.raises(ServerListMismatch):
        old.start(replace("a"), "return")
    assert started == [True]
    assert sum(server.read("a") is not None for server in shared) == 1


def test_a_server_that_brings_work_may_not_join():
    first, second = MemoryServer(), MemoryServer()
    second.start(NEW, "return")
    with pytest.raises(ServerListMismatch, match="Put the server that has work first"):
        spread(first, second).store_id()
    assert first.server_list() is None
    assert spread(second, first).start(NEW, "return").created is False


def test_lists_that_contradict_are_refused():
    one, two, three = MemoryServer(), MemoryServer(), MemoryServer()
    spread(one, two).store_id()
    for wrong in ([two, one], [one, three], [one, three, two], [one]):
        with pytest.raises(ServerListMismatch):
            spread(*wrong).store_id()
    with pytest.raises(ServerListMismatch, match="same database"):
        spread(one, one).store_id()
    spread(one, two, three).store_id()


def test_a_new_list_needs_every_server_once_and_then_each_may_be_down(caplog):
    first, second = Flaky(), Flaky()
    second.down = True
    with pytest.raises(BackendUnavailable, match="each of them must hear of it once"):
        spread(first, second).store_id()
    assert first.server_list() is None
    second.down = False
    spread(first, second).store_id()
    second.down = True
    app, _, (child, _) = make_app(spread(first, second))
    with caplog.at_level(logging.WARNING, "perdure.servers"):
        handles = [child.start(f"n{n}") for n in range(8)]
        run_until_idle(app)
    assert [handle.result() for handle in handles] == [f"N{n}" for n in range(8)]
    assert "server 2 (s2) failed" in caplog.text
    assert any("server 2 (s2) does not answer" in each for each in app.health().problems)


@pytest.mark.parametrize("position", [0, 1])
def test_who_is_too_old_for_one_server_stops(position):
    """A newer program has migrated it; the others will follow, and it takes nothing from them."""
    shared = [MemoryServer(), MemoryServer()]
    backend = spread(*shared)
    app, ran, (child, _) = make_app(backend)
    for _ in range(8):
        child.start("n")
    stopped: list[PerdureError] = []
    over = threading.Event()

    def on_stop(error: PerdureError) -> None:
        stopped.append(error)
        over.set()

    def refuse(request: ClaimRequest) -> ClaimBatch:
        raise SchemaMismatch("The database has schema 99. Upgrade perdure.")

    shared[position].claim = refuse
    app.start_worker(on_stop=on_stop)
    assert over.wait(30)
    assert [type(error) for error in stopped] == [SchemaMismatch]
    assert not ran
    app.close()


def test_a_crash_before_the_parents_record_starts_the_child_once(servers, monkeypatch):
    backend = spread(*servers)
    given = id_on(backend, servers, 2, "kid")
    app, ran, (_, parent) = make_app(backend)
    top = parent.options(id=id_on(backend, servers, 1, "top")).start([given])
    original = backend.commit
    crashed: list[bool] = []

    def commit(transitions: Sequence[Transition]) -> list[CommitResult]:
        if not crashed and servers[1].read(given) is not None:
            crashed.append(True)
            raise BackendUnavailable("the process died here")
        return original(transitions)

    monkeypatch.setattr(backend, "commit", commit)
    run_until_idle(app)
    assert crashed
    assert top.result()[0] == given.upper()
    assert ran[given] == 1
