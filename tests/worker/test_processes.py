"""Standing workers as they are used: processes that run, are stopped, killed, frozen, and crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from perdure.backends.base import ClaimRequest
from perdure.core.lifecycle import InvocationState
from tests.support.processes import environment
from tests.worker.fleet import PATIENCE, Fleet, WorkerProcess, is_running, until

STATES = InvocationState
BOTH = [signal.SIGTERM, signal.SIGINT]


def test_a_worker_runs_what_others_start_and_tells_of_itself(fleet: Fleet) -> None:
    worker = fleet.worker("--queues", "default, gpu", "--concurrency", "3").up()
    fleet.open("pen")
    fleet.start("order", ["pen"])
    assert fleet.result() == [f"pen by {worker.pid}"]
    worker.stop()
    first, *_, last = worker.log.splitlines()
    assert "worker of app 'shop' started" in first
    for words in (f"pid {worker.pid}", "shop.db", "queues default, gpu", "3 at a time"):
        assert words in first
    assert "stopped" in last
    left = {path.name for path in fleet.folder.iterdir()} - {"shop.py", "effects", "open_pen"}
    assert {name for name in left if not name.startswith("shop.db")} == set()


def test_other_queues_are_left_alone(fleet: Fleet) -> None:
    worker = fleet.worker("--queues", "gpu").up()
    fleet.start("nest", 0)
    fleet.app.named("nest").options(id="gpu", queue="gpu").start(0)
    assert fleet.result("gpu") == 0
    assert fleet.record().state is STATES.READY
    worker.stop()


def test_fifty_nested_children_need_one_slot(fleet: Fleet) -> None:
    worker = fleet.worker("--concurrency", "1").up()
    fleet.start("nest", 50)
    assert fleet.result() == 50
    worker.stop()


# --- an orderly end -----------------------------------------------------------------------------


def released(fleet: Fleet, entries: int) -> None:
    """The workflow is free for others, with this much recorded."""
    record = fleet.record()
    assert (record.state, record.owner, record.crashes) == (STATES.READY, "", 0)
    assert record.head >= entries


@pytest.mark.parametrize("number", BOTH)
def test_a_worker_that_is_stopped_while_it_starts_claims_nothing(
    fleet: Fleet, number: signal.Signals
) -> None:
    fleet.start("nest", 0)
    worker = fleet.worker(SLOW_IMPORT="1")
    fleet.begun("import")
    worker.process.send_signal(number)
    fleet.open("import")
    assert worker.end() == 0, worker.log
    assert fleet.record().epoch == 0


@pytest.mark.parametrize("number", BOTH)
def test_an_idle_worker_stops(fleet: Fleet, number: signal.Signals) -> None:
    worker = fleet.worker().up()
    worker.process.send_signal(number)
    assert worker.end() == 0, worker.log


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize(
    ("workflow", "first"),
    [("order", "ink"), ("express", "ink"), ("express", "a_pen")],
    ids=["sync", "sync_in_async", "async"],
)
def test_a_body_that_runs_may_end_and_never_runs_again(
    fleet: Fleet, workflow: str, first: str, number: signal.Signals
) -> None:
    worker = fleet.worker().up()
    fleet.start(workflow, [first, "last"])
    fleet.begun(first)
    worker.process.send_signal(number)
    worker.says("nothing new is claimed")
    fleet.open(first, "last")
    assert worker.end() == 0, worker.log
    assert fleet.count("began", "last") == 0
    released(fleet, entries=1)
    other = fleet.worker().up()
    assert fleet.result() == [f"{first} by {worker.pid}", f"last by {other.pid}"]
    assert fleet.count("began", first) == 1
    other.stop()


@pytest.mark.parametrize("number", BOTH)
def test_a_workflow_that_waits_is_let_go_at_once(fleet: Fleet, number: signal.Signals) -> None:
    """The inner workflow is in a queue that nobody serves, and the outer one keeps its frame."""
    worker = fleet.worker("--queues", "mine", GRACE="3600").up()
    fleet.app.named("patient").options(id="one", queue="mine").start()
    until(lambda: fleet.record().head, "its child is started")
    worker.process.send_signal(number)
    assert worker.end() == 0, worker.log
    assert fleet.record().state in {STATES.READY, STATES.WAITING}


@pytest.mark.parametrize("number", BOTH)
def test_the_second_signal_leaves_at_once_and_the_next_worker_takes_over(
    fleet: Fleet, number: signal.Signals
) -> None:
    worker = fleet.worker().up()
    fleet.start("order", ["pen"])
    fleet.begun("pen")
    worker.process.send_signal(number)
    worker.says("nothing new is claimed")
    worker.process.send_signal(number)
    assert worker.end() == 128 + number
    fleet.open("pen")
    other = fleet.worker().up()
    assert fleet.result() == [f"pen by {other.pid}"]
    assert fleet.record().crashes <= 1
    other.stop()


def test_a_body_that_does_not_end_is_left_behind_after_the_grace_period(fleet: Fleet) -> None:
    worker = fleet.worker("--grace-period", "0.2").up()
    fleet.start("order", ["pen"])
    fleet.begun("pen")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end() == 1
    assert "left behind" in worker.log
    fleet.open("pen")
    other = fleet.worker().up()
    assert fleet.result() == [f"pen by {other.pid}"]
    other.stop()


# --- deaths -------------------------------------------------------------------------------------


def test_a_killed_worker_is_followed_at_once(fleet: Fleet) -> None:
    """Its leases have an hour to go; another one on the same host sees that it is gone."""
    first = fleet.worker("--concurrency", "4").up()
    for number in range(6):
        fleet.start("busy", number, id=f"busy-{number}")
    fleet.start("order", ["pen"])
    fleet.begun("pen")
    first.kill()
    fleet.open("pen")
    second = fleet.worker().up()
    assert fleet.result() == [f"pen by {second.pid}"]
    for number in range(6):
        keys = fleet.result(f"busy-{number}")
        assert isinstance(keys, list)
        assert len(set(keys)) == 3
        for place in range(3):  # twice only if the first one was killed in it
            assert 1 <= fleet.count("step", f"{number}/{place}") <= 2
    second.stop()


def test_a_worker_elsewhere_is_followed_when_its_lease_is_over(fleet: Fleet) -> None:
    fleet.start("nest", 0)
    request = ClaimRequest(
        app="shop",
        owner="elsewhere|another boot|1|1|nonce",
        names=frozenset({"nest"}),
        limit=1,
        lease=300_000,
    )
    assert len(fleet.app.runtime.backend.claim(request).records) == 1
    worker = fleet.worker().up()
    assert fleet.result() == 0
    assert (fleet.record().epoch, fleet.record().crashes) == (2, 1)
    worker.stop()


def test_a_frozen_worker_records_nothing_when_it_thaws(fleet: Fleet) -> None:
    lease = "1.5"
    frozen = fleet.worker("--concurrency", "1", LEASE=lease).up()
    fleet.start("order", ["pen", "ink"])
    fleet.begun("pen")
    fleet.freeze(frozen)
    other = fleet.worker("--concurrency", "1", LEASE=lease).up()
    assert fleet.begun("pen", 2) == other.pid  # the lease of the first one was over
    fleet.open("pen", "ink")
    answer = fleet.result()
    assert answer == [f"pen by {other.pid}", f"ink by {other.pid}"]
    before = fleet.record()
    other.stop()
    frozen.process.send_signal(signal.SIGCONT)
    until(lambda: fleet.count("ended", "pen") == 2, "the late body ends")
    fleet.start("nest", 0, id="two")
    assert fleet.result("two") == 0  # it works on, and has found out by now
    assert fleet.record() == before
    assert fleet.count("began", "ink") == 1
    frozen.stop()


@pytest.mark.parametrize("how", ["exit", "kill"])
@pytest.mark.parametrize(
    ("name", "named"),
    [("risky", "'fatal'"), ("fatal", "'fatal'"), ("rash", "the workflow's own code")],
)
def test_what_always_kills_its_worker_is_dead_and_can_be_revived(
    fleet: Fleet, name: str, named: str, how: str
) -> None:
    fleet.app.named(name, "task" if name == "fatal" else "workflow").options(id="one").start(how)
    for _ in range(2):
        assert fleet.worker().end() == {"exit": 7, "kill": -signal.SIGKILL}[how]
    worker = fleet.worker().up()
    until(lambda: fleet.record().state is STATES.DEAD, "it is given up")
    assert "crashed 2 times" in fleet.record().reason
    assert named.strip("'") in fleet.record().reason
    worker.says("perdure workflow re")  # what to do is in the log, too
    (fleet.folder / "mended").touch()
    command = subprocess.run(
        [sys.executable, "-m", "perdure", "workflow", "revive", "one", "-A", "shop:app"],
        cwd=fleet.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert command.returncode == 0, command.stderr
    assert fleet.result() == "alive"
    worker.stop()


def test_names_of_others_are_left_to_them(fleet: Fleet) -> None:
    fleet.start("shop.of_others", id="one")
    worker = fleet.worker().up()
    fleet.start("nest", 0, id="two")
    assert fleet.result("two") == 0
    worker.says("'shop.of_others' are left to other workers")
    assert fleet.record().state is STATES.READY
    assert fleet.record().epoch == 0
    worker.stop()


# --- several processes --------------------------------------------------------------------------


def supervised(fleet: Fleet, count: int, *arguments: str) -> tuple[WorkerProcess, list[int]]:
    """A supervisor whose workers are all up."""
    supervisor = fleet.worker("--processes", str(count), *arguments)
    supervisor.says("started: pid", times=count)
    return supervisor, fleet.pids(supervisor)


def are_gone(pids: list[int]) -> None:
    until(lambda: not any(map(is_running, pids)), "every worker has ended")


def test_a_supervisor_runs_so_many_and_ends_with_them(fleet: Fleet) -> None:
    supervisor, pids = supervised(fleet, 2, "--concurrency", "1")
    assert len(set(pids)) == 2
    for name in ("pen", "ink"):
        fleet.start("order", [name], id=name)
    assert {fleet.begun("pen"), fleet.begun("ink")} == set(pids)
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.says("nothing new is claimed", times=2)
    fleet.open("pen", "ink")
    assert supervisor.end() == 0, supervisor.log
    are_gone(pids)
    assert {fleet.count("ended", name) for name in ("pen", "ink")} == {1}
    assert {fleet.record(name).crashes for name in ("pen", "ink")} == {0}


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_once(fleet: Fleet) -> None:
    supervisor, pids = supervised(fleet, 2)
    os.killpg(supervisor.pid, signal.SIGINT)
    assert supervisor.end() == 0, supervisor.log
    are_gone(pids)


def test_a_signal_to_every_process_asks_once(fleet: Fleet) -> None:
    """As service managers do (systemd): the workers hear it, and hear it again from above."""
    supervisor, pids = supervised(fleet, 2, "--concurrency", "1")
    fleet.start("order", ["pen"])
    fleet.begun("pen")
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    supervisor.says("nothing new is claimed", times=2)
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.says("stopping 2 workers")
    fleet.open("pen")
    assert supervisor.end() == 0, supervisor.log
    are_gone(pids)
    assert fleet.count("ended", "pen") == 1
    assert fleet.record().crashes == 0


def test_a_supervisor_starts_anew_what_dies_and_says_of_what(fleet: Fleet) -> None:
    supervisor, pids = supervised(fleet, 2, "--concurrency", "1")
    fleet.start("order", ["pen"])
    victim = fleet.begun("pen")
    os.kill(victim, signal.SIGKILL)
    supervisor.says("SIGKILL")
    assert f"pid {victim}" in supervisor.log
    supervisor.says("started: pid", times=3)
    fleet.open("pen")
    result = fleet.result()
    assert result in [[f"pen by {pid}"] for pid in {*fleet.pids(supervisor)} - {victim}]
    supervisor.stop()
    are_gone([*pids, *fleet.pids(supervisor)])


def test_the_second_signal_to_a_supervisor_kills_all(fleet: Fleet) -> None:
    supervisor, pids = supervised(fleet, 2, "--concurrency", "1")
    fleet.start("order", ["pen"])
    fleet.begun("pen")
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.says("nothing new is claimed", times=2)
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.end() == 128 + signal.SIGTERM
    are_gone(pids)


def test_workers_whose_supervisor_is_killed_end_in_order(fleet: Fleet) -> None:
    supervisor, pids = supervised(fleet, 2, "--concurrency", "1")
    fleet.start("order", ["pen", "ink"])
    fleet.begun("pen")
    supervisor.kill()
    # Not `says`: the supervisor has ended, and it is its workers that go on to tell.
    until(lambda: supervisor.log.count("nothing new is claimed") == 2, "both workers stop")
    fleet.open("pen")
    are_gone(pids)
    released(fleet, entries=1)


def test_a_supervisor_gives_up_what_cannot_be_started(fleet: Fleet) -> None:
    (fleet.folder / "shop.py").write_text("app = 3\n")
    supervisor = fleet.worker("--processes", "2")
    assert supervisor.end() == 2
    assert "not a Perdure app" in supervisor.log


UNFINISHED = """
import threading
import perdure.cli.worker
perdure.cli.worker.warn_of_strange_queues = lambda *_: threading.Event().wait(5)
"""
"""Bodies run before the worker has told all that it has to tell of its start."""


@pytest.mark.parametrize("more", ["", UNFINISHED], ids=["started", "starting"])
def test_a_body_cannot_end_the_supervisor(fleet: Fleet, more: str) -> None:
    """Whatever exit code user code chooses, and when: it is a crash like others."""
    source = (fleet.folder / "shop.py").read_text()
    (fleet.folder / "shop.py").write_text(source.replace("os._exit(7)", "os._exit(2)") + more)
    supervisor, _ = supervised(fleet, 2)
    fleet.start("risky", "exit")
    until(lambda: fleet.record().state is STATES.DEAD, "it is given up")
    fleet.start("nest", 0, id="two")
    assert fleet.result("two") == 0
    supervisor.stop()
