"""Tasks for other processes, which find them by importing this module.

Other apps may register the same functions again, under the same names, to run them elsewhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure import Perdure, Retry, wf

LONG = 60.0


@dataclass
class Receipt:
    number: str
    cents: list[int]


class OutOfStock(Exception):
    pass


class Unregistered(Exception):
    pass


def where(*_: Any) -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


def draws() -> list[Any]:
    return [
        wf.random(),
        wf.random.getrandbits(40),
        wf.uuid(),
        wf.utc_now(),
        wf.utc_now(),
        wf.idempotency_key(),
        wf.executor().workflow_identity.workflow_id,
    ]


def receipt(old: Receipt) -> Receipt:
    assert type(old) is Receipt
    old.cents.append(os.getpid())
    return old


def fail(kind: str) -> None:
    if kind == "registered":
        raise OutOfStock("pen")
    if kind == "unregistered":
        raise Unregistered("secret")
    if kind == "exit":
        sys.exit(7)
    if kind == "unrecordable":
        return object()  # type: ignore[return-value]
    raise ValueError(kind)


def flaky(folder: Path, kind: str = "") -> int:
    """Fails twice, worth another try or not; what it leaves outside tells how often it ran."""
    count = len(list(folder.iterdir()))
    (folder / str(count)).touch()
    if count < 2:
        raise ValueError(kind) if kind else Unregistered(str(count))
    return count


def die(folder: Path, times: int, how: str) -> int:
    """Kills its process the first `times` times."""
    count = len(list(folder.iterdir()))
    (folder / str(count)).touch()
    if count < times:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def hang(folder: Path) -> None:
    """Runs on for ever, with a program that it started; only a hard kill ends the two."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    (folder / "started").write_text(f"{os.getpid()} {program.pid}")
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            continue


def meet(folder: Path, name: str, others: int) -> str:
    """Waits until so many others run at the same time."""
    (folder / name).touch()
    deadline = time.monotonic() + LONG
    while len(list(folder.iterdir())) <= others:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return name


def starting() -> str:
    return app.named("where", "task").start().invocation_id


def refused(what: str) -> None:
    operations: dict[str, Callable[[], object]] = {
        "sleep": lambda: wf.sleep(0),
        "record": lambda: wf.record("x", lambda: 1),
        "set_data": lambda: wf.set_data("x", 1),
        "heartbeat": lambda: wf.heartbeat("x"),
    }
    operations[what]()


def copying(folder: Path, how: str) -> list[Any]:
    """Tells how far it has come; the first attempt comes to no end of its own."""
    last = wf.last_heartbeat(int, 0) or 0
    wf.heartbeat(last + 1)
    if last:
        return [last, wf.last_heartbeat(int)]
    (folder / "beaten").write_text(str(os.getpid()))
    if how == "fails":
        wf.heartbeat(2)
        raise Unregistered("1")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hangs":
        time.sleep(1000)
    try:
        while True:
            wf.heartbeat()
    except wf.AttemptLost as error:
        (folder / "told").write_text(str(error))
        raise


def register(target: Perdure, executor: Any, **options: Any) -> dict[str, Any]:
    """All of them in `target`, by name."""
    functions = (where, draws, receipt, fail, flaky, die, hang, meet, starting, refused, copying)
    target.register(OutOfStock)
    retry = {
        "flaky": Retry(attempts=5, wait_initial=0.001, on=(Unregistered,)),
        "copying": Retry(attempts=2, wait_initial=0.001),
    }
    return {
        each.__name__: target.task(
            name=each.__name__, executor=executor, retry=retry.get(each.__name__), **options
        )(each)
        for each in functions
    }


app = Perdure("memory://", name="executors")
register(app, "process")
