"""Worker processes on one SQLite file, and a shop whose bodies tell what they do and wait at gates.

A body writes `began NAME PID` into the file `effects`, waits until the file `open_NAME` is there,
and writes `ended NAME PID`. So a test knows where every process is, and no test waits for luck.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from perdure import Perdure
from perdure.backends.base import InvocationRecord
from perdure.backends.sqlite import SQLiteBackend
from perdure.errors import BackendUnavailable
from tests.support.processes import environment

PATIENCE = 90.0
"""Seconds after which something that should have happened long before is a failure."""
LONG_LEASE = 3600.0
"""Nothing in a test comes of the end of such a lease."""

SHOP = """
from __future__ import annotations
import asyncio, os, signal, time
from pathlib import Path
from perdure import Perdure, Retry, wf


def tell(*words: object) -> None:
    with open("effects", "a") as file:
        file.write(" ".join(map(str, (*words, os.getpid()))) + chr(10))


def gate(name: str) -> None:
    tell("began", name)
    deadline = time.monotonic() + 90
    while not Path("open_" + name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)
    tell("ended", name)


if os.environ.get("SLOW_IMPORT"):
    gate("import")

app = Perdure(
    os.environ.get("SHOP_URL", "sqlite:///shop.db"),
    name="shop",
    lease=float(os.environ.get("LEASE", "3600")),
    grace=float(os.environ.get("GRACE", "0.1")),
    crash_limit=2,
)


@app.task(name="pack")
def pack(item: str) -> str:
    gate(item)
    return f"{item} by {os.getpid()}"


@app.task(name="ship")
async def ship(item: str) -> str:
    await asyncio.to_thread(gate, item)
    return f"{item} by {os.getpid()}"


@app.workflow(name="order")
def order(items: list[str]) -> list[str]:
    return [pack(item) for item in items]


@app.workflow(name="express")
async def express(items: list[str]) -> list[str]:
    return [await ship(item) if item.startswith("a") else await pack.acall(item) for item in items]


@app.workflow(name="nest")
def nest(depth: int) -> int:
    return 1 + nest.start(depth - 1).result() if depth else 0


@app.workflow(name="patient")
def patient() -> int:
    return nest.options(queue="nobody's").start(0).result()


@app.workflow(name="busy")
def busy(number: int) -> list[object]:
    return [step(number, place) for place in range(3)]


@app.task(name="step")
def step(number: int, place: int) -> str:
    tell("step", f"{number}/{place}")
    return wf.idempotency_key()


def die(how: str) -> None:
    if Path("mended").exists():
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


@app.task(name="fatal")
def fatal(how: str) -> str:
    die(how)
    return "alive"


@app.workflow(name="risky")
def risky(how: str) -> str:
    return fatal(how)


@app.workflow(name="rash")
def rash(how: str) -> str:
    die(how)
    return "alive"
"""


class Effect(NamedTuple):
    """One line that a body told."""

    event: str
    name: str
    pid: int


def until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until `condition()` is true.

    Raises:
        AssertionError: it is not, for very long.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


class WorkerProcess:
    """`perdure worker` in a process of its own; what it logs goes to a file."""

    def __init__(self, folder: Path, number: int, arguments: tuple[str, ...], **more: str) -> None:
        self._log = folder.parent / f"{folder.name}-{number}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "perdure", "worker", "-A", "shop:app", *arguments],
                cwd=folder,
                env=environment(PYTHONDONTWRITEBYTECODE="1", **more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has logged these words."""
        until(
            lambda: self.log.count(words) >= times or self.process.poll() is not None,
            f"a worker says {words!r}",
        )
        assert self.log.count(words) >= times, self.log

    def up(self) -> WorkerProcess:
        """Wait until it is started."""
        self.says("started: pid")
        return self

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ask it to end, and see that it does so in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.end() == 0, self.log

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


class Fleet:
    """A folder with the shop, its workers, and an app that only starts and reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shop"
        self.folder.mkdir()
        (self.folder / "shop.py").write_text(SHOP)
        self.path = self.folder / "shop.db"
        self.app = Perdure(f"sqlite:///{self.path}", name="shop", local_worker=False)
        self._workers: list[WorkerProcess] = []

    def worker(self, *arguments: str, **more: str) -> WorkerProcess:
        """Start a worker; it is gone after the test, whatever happens."""
        number = len(self._workers)
        worker = WorkerProcess(self.folder, number, arguments, **more)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.kill()
            for pid in self.pids(worker):
                if is_running(pid):  # its parent is gone, and it is told to end by that
                    os.kill(pid, signal.SIGKILL)
        self.app.close(0.1)

    # --- what happens ---------------------------------------------------------------------------

    def open(self, *names: str) -> None:
        """Let the bodies of these names end."""
        for name in names:
            (self.folder / f"open_{name}").touch()

    @property
    def effects(self) -> list[Effect]:
        """What the bodies told, in order."""
        path = self.folder / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Effect(event, name, int(pid)) for event, name, pid in map(str.split, lines)]

    def count(self, event: str, name: str) -> int:
        return sum((effect.event, effect.name) == (event, name) for effect in self.effects)

    def begun(self, name: str, times: int = 1) -> int:
        """Wait until a body of this name runs (for the n-th time); the pid of its process."""
        until(lambda: self.count("began", name) >= times, f"body {name!r} begins")
        found = [each.pid for each in self.effects if each[:2] == ("began", name)]
        return found[times - 1]

    def start(self, name: str, *arguments: object, id: str = "one") -> None:
        self.app.named(name).options(id=id).start(*arguments)

    def record(self, id: str = "one") -> InvocationRecord:
        record = self.app.runtime.backend.read(id)
        assert record is not None
        return record

    def result(self, id: str = "one") -> object:
        return self.app.invocation(id).result(PATIENCE)

    # --- processes ------------------------------------------------------------------------------

    @staticmethod
    def pids(worker: WorkerProcess) -> list[int]:
        """The processes that told of their start in this worker's log: its own, or its children."""
        return [int(pid) for pid in re.findall(r"started: pid (\d+)", worker.log)]

    def freeze(self, worker: WorkerProcess) -> None:
        """Stop a process outside of a write: inside of one it would keep all others from theirs."""
        for _ in range(100):
            worker.process.send_signal(signal.SIGSTOP)
            probe = SQLiteBackend(self.path, lock_timeout=1.0)
            try:
                probe.read("one", locked=True)
            except BackendUnavailable:
                worker.process.send_signal(signal.SIGCONT)
            else:
                return
            finally:
                probe.close()
        raise AssertionError("the worker writes without end")
