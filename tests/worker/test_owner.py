"""The names of owners: who is certainly gone, and who only seems to be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perdure.worker.owner import is_gone, owner_name
from tests.support.processes import environment

NAME = "from perdure.worker.owner import owner_name; print(owner_name('n'), flush=True); input()"


def changed(owner: str, **parts: str) -> str:
    names = ("host", "space", "pid", "started", "nonce")
    return "|".join((dict(zip(names, owner.split("|"), strict=True)) | parts).values())


def test_an_owner_is_gone_when_its_process_has_ended() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    assert not is_gone(owner)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(owner)  # a zombie
    process.communicate()
    assert is_gone(owner)


def test_an_owner_is_gone_when_another_process_has_its_pid() -> None:
    mine = owner_name("n")
    assert not is_gone(mine)
    assert is_gone(changed(mine, started="1"))


@pytest.mark.parametrize("started", ["1", "99999999999"])
def test_pids_of_other_containers_and_machines_mean_nothing_here(started: str) -> None:
    """A container on its host's network has the host's name and boot, but pids of its own."""
    mine = owner_name("n")
    boot, namespace = mine.split("|")[1].split("/")
    for space in (f"{boot}/{int(namespace) + 1}", f"another boot/{namespace}", "unknown", boot):
        assert not is_gone(changed(mine, space=space, pid="4194304", started=started))


def test_a_process_that_may_not_be_looked_at_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /proc hides the processes of other users."""
    mine = owner_name("n")
    monkeypatch.setattr("perdure.worker.owner._start_time", lambda _: "")
    assert not is_gone(mine)


@pytest.mark.parametrize("pid", ["", "x", "-", "9" * 40])
def test_a_name_that_is_none_is_not_gone(pid: str) -> None:
    assert not is_gone("nobody")
    assert not is_gone(changed(owner_name("n"), pid=pid))
