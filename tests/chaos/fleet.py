"""Worker processes on one store, what they wrote to their log, and what must be true of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from perdure import Perdure
from perdure.api.settings import load_settings
from perdure.backends.base import Backend, InvocationQuery, InvocationRecord
from perdure.core.draws import derive_id
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.drivers import make_backend
from perdure.engine.audit import audit
from perdure.engine.baseline import Baseline
from perdure.engine.env import SystemEnv
from tests.chaos.newer import Newer
from tests.chaos.program import Log, build
from tests.support.ledger import append
from tests.support.processes import SOURCES, put_away, start_python

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
PAGE = 1_000
LIVE = tuple(state for state in InvocationState if state not in TERMINAL)
RARE = (
    "stale",
    "resolved committed",
    "resolved not committed",
    "stolen",
    "stopped",
    "renewal lost",
    "unknown",
    "claim unknown",
)
"""What every run counts: refused stale writes, unknown outcomes and how they came out, expired or
abandoned leases that another took, dead letters, leases found lost by their renewal."""

Child = subprocess.Popen[str]


def until(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Wait until it is true; gives what it gave."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.02)
    return found


class Fleet:
    """One store in `folder` and the processes that work on it.

    Args:
        url: of the store; workers may be told another way to it.
        command: whether its workers are `perdure worker`, as users start them, and are stopped as
            users do; else worker processes that can be told more.
    """

    def __init__(
        self, url: str, folder: Path, seed: int, *, command: bool = False, **settings: Any
    ) -> None:
        self.url = url
        self._is_command = command
        self.folder = folder
        self.seed = seed
        self.chance = random.Random(seed)
        self.settings = {
            "lease": 30.0,
            "concurrency": 4,
            "crash_limit": 10,
            "beat": 0.0,
            "name": "",
        } | settings
        self.log = Log(folder / "log")
        self.gate = folder / "gate"
        self.children: list[Child] = []
        self.started: list[str] = []
        self.counters: Counter[str] = Counter()
        self.app = Perdure(url, name="chaos", local_worker=False)
        build(self.app, self.log, self.gate)

    # --- processes ------------------------------------------------------------------------------

    def worker(
        self,
        url: str | None = None,
        go: str = "now",
        ends_at: str = "",
        newer: Newer = "",
    ) -> Child:
        """A new worker process.

        Args:
            ends_at: where a command asks itself to end, see `Ending`.
            newer: whether a command is of a later version.
        """
        if self._is_command:
            child = self._command(url or self.url, ends_at, newer)
        else:
            child = self._child(url, go)
        self.children.append(child)
        return child

    def _command(self, url: str, ends_at: str, newer: Newer) -> Child:
        told = {
            "CHAOS_URL": url,
            "CHAOS_LOG": str(self.log.path),
            "CHAOS_GATE": str(self.gate),
            "CHAOS_LEASE": str(self.settings["lease"]),
            "CHAOS_CRASH_LIMIT": str(self.settings["crash_limit"]),
            "CHAOS_ENDS_AT": ends_at,
            "CHAOS_NEWER": newer,
        }
        return start_python(
            *("-m", "perdure", "worker", "-A", "tests.chaos.command:app"),
            *("--concurrency", str(self.settings["concurrency"])),
            folder=self.folder,
            PYTHONPATH=f"{SOURCES}:{ROOT}",
            **told,
        )

    def _child(self, url: str | None, go: str) -> Child:
        settings = map(str, self.settings.values())
        return start_python(
            *("-m", "tests.chaos.child", url or self.url, self.log.path, self.gate),
            *(*settings, go),
            folder=self.folder,
            PYTHONPATH=f"{SOURCES}:{ROOT}",
        )

    def workers(self, count: int, url: str | None = None, go: str = "now") -> list[Child]:
        """So many, started together; each has opened the store."""
        children = [self.worker(url, go) for _ in range(count)]
        for child in children:
            self.await_ready(child)
        return children

    def await_ready(self, child: Child) -> None:
        says = child.stderr if self._is_command else child.stdout
        assert says is not None
        line = says.readline()
        if "started: pid" not in line and line != "ready\n":
            child.wait()
            assert child.stderr is not None
            raise AssertionError(f"a worker did not start: {line}{child.stderr.read()}")

    def kill(self, child: Child) -> None:
        """SIGKILL, and wait until it is gone."""
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.counters["killed"] += 1

    def living(self) -> list[Child]:
        return [child for child in self.children if child.poll() is None]

    def child_of(self, pid: int) -> Child:
        return next(child for child in self.children if child.pid == pid)

    def stop_all(self) -> None:
        """Let all of them end by themselves, which they must."""
        for child in self.living():
            assert child.stdin is not None
            child.stdin.close()
            if self._is_command:
                child.terminate()
        for child in self.living():
            child.wait(PATIENCE)
            assert child.stderr is not None
            assert child.returncode == 0, child.stderr.read()

    def close(self) -> None:
        """Leave no process behind."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
            put_away(child)
        for child in self.children:
            assert not Path(f"/proc/{child.pid}").exists() or child.returncode is not None
        self.app.close()

    # --- work -----------------------------------------------------------------------------------

    def start(self, name: str, *arguments: Any) -> InvocationKey:
        """Start a workflow; from now on it is acknowledged."""
        handle = self.app.start(name, *arguments)
        self.started.append(handle.key.invocation_id)
        return handle.key

    def start_jobs(self, count: int) -> None:
        for number in range(count):
            self.start("job", number)

    def events(self, *kinds: str) -> list[list[Any]]:
        return [line for line in self.log.lines() if not kinds or line[0] in kinds]

    def body_of(self, name: str, count: int = 1) -> list[Any]:
        """The last line of the first `count` bodies of that name, once they began."""

        def found() -> list[Any] | None:
            assert self.living(), "no worker is left"
            bodies = [line for line in self.events("body") if line[3] == name]
            return bodies[count - 1] if len(bodies) >= count else None

        line = until(found, f"{count} bodies of {name}")
        assert line is not None
        return line

    def await_bodies(self, count: int) -> None:
        """Wait until so many bodies began since the beginning."""
        until(lambda: len(self.events("body")) >= count, f"{count} bodies")

    def await_event(self, kind: str, pid: int, after: int) -> None:
        """Wait until this process wrote such a line, beyond the first `after` lines."""

        def found() -> bool:
            return [kind, pid] in [line[:2] for line in self.events()[after:]]

        until(found, f"{kind!r} of process {pid}")

    def opened(self) -> Backend:
        """Another look at the store."""
        return make_backend(load_settings({"database_url": self.url}), SystemEnv(), read_only=True)

    def records(self, *states: InvocationState) -> list[InvocationRecord]:
        """Every row in one of these states, or in any."""
        backend = self.opened()
        try:
            found: list[InvocationRecord] = []
            while True:
                after = found[-1].key if found else None
                query = InvocationQuery(app="chaos", states=states, limit=PAGE, after=after)
                page = backend.query(query)
                found += page
                if len(page) < PAGE:
                    return found
        finally:
            backend.close()

    def unended(self) -> list[InvocationRecord]:
        return self.records(*LIVE)

    # --- what must be true ----------------------------------------------------------------------

    def audit(self) -> None:
        """No invariant is broken now, and nothing acknowledged has changed since the last time."""
        backend = self.opened()
        try:
            with Baseline(self.folder / "baseline", backend.store_id()) as baseline:
                report = audit(backend, baseline=baseline)
                assert report.violations == (), list(map(str, report.violations))
                baseline.keep()
            self.counters["audits"] += 1
        finally:
            backend.close()

    def check(self, *expected: str, dead: int = 0) -> None:
        """After the end: as `settle`; and the rarities did happen.

        Args:
            expected: the rare things that this run was made for.
            dead: how many invocations are dead letters.
        """
        self.settle(dead)
        names = dict.fromkeys((*RARE, "killed", "audits", "workflows", *expected))
        remember(self.seed, {name: self.counters[name] for name in names}, *expected)

    def settle(self, dead: int = 0) -> None:
        """After the end: everything acknowledged is done, once. Counts the rarities."""
        self.stop_all()
        self.audit()
        rows = {row.key: row for row in self.records()}
        problems = [*self._unfinished(rows, dead), *self._misrun(rows)]
        assert problems == []
        self.counters.update(line[0] for line in self.events(*RARE))
        self.counters["workflows"] = len(self.started)

    def _unfinished(self, rows: dict[InvocationKey, InvocationRecord], dead: int) -> Iterator[str]:
        for id_ in self.started:
            row = rows.get(InvocationKey(id_, 1))
            if row is None:
                yield f"{id_} was acknowledged and is gone"
        lost = [row for row in rows.values() if row.state is not InvocationState.COMPLETED]
        stopped = [row for row in lost if row.state is InvocationState.DEAD]
        if len(stopped) != dead:
            yield f"{len(stopped)} dead letters, expected {dead}"
        waiting = {row.key for row in lost} - {row.key for row in stopped}
        if not dead and waiting:
            yield f"not completed: {[(row.key, row.state, row.reason) for row in lost]}"
        ids = Counter(key.invocation_id for key in rows)
        yield from (f"{id_} is there {n} times" for id_, n in ids.items() if n > 1)

    def _misrun(self, rows: dict[InvocationKey, InvocationRecord]) -> Iterator[str]:
        """Bodies that began after their outcome was acknowledged to whoever ran them."""
        ended: set[str] = set()
        zombies = set(self._frozen())
        for event, pid, *words in self.events("body", "ack call", "ack row"):
            if event == "ack call":
                id_, generation, scope, ordinal = words
                seed = rows[InvocationKey(id_, generation)].seed
                ended.add(derive_id(seed, "task", scope, str(ordinal)))
            elif event == "ack row":
                ended.add(words[0])
            elif words[0] in ended and pid not in zombies:
                yield f"body {words} began in {pid} after its outcome was acknowledged"
        nonces = [words[2] for event, _, *words in self.events("body")]
        if len(set(nonces)) != len(nonces):
            yield "two bodies drew the same number"

    def _frozen(self) -> list[int]:
        """Processes that were stopped for a while: a body may begin there in vain."""
        return [line[2] for line in self.events("frozen")]


def remember(seed: int, counts: Mapping[str, int], *expected: str) -> None:
    """Tell what happened, also to the ledger if there is one; all that was expected must have.

    The ledger is the file that `PERDURE_TEST_CHAOS_LEDGER` names; each test adds a line of JSON.
    """
    print(told(seed, counts))
    ledger = os.environ.get("PERDURE_TEST_CHAOS_LEDGER")
    if ledger is not None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
        append(Path(ledger), "chaos", {"test": test, "seed": seed, "counts": dict(counts)})
    refuse_nothing(counts, *expected)


def told(seed: int, counts: Mapping[str, int]) -> str:
    """What happened, in a line."""
    return f"seed {seed}: " + ", ".join(f"{n} {name}" for name, n in counts.items())


def refuse_nothing(counts: Mapping[str, int], *expected: str) -> None:
    """A run in which the rare thing never happened has tried nothing."""
    missing = [name for name in expected if not counts.get(name)]
    assert missing == [], f"never happened, so this run proves nothing: {missing}"


def seconds(usual: float) -> float:
    """How long a chaos run goes on: `PERDURE_TEST_CHAOS_SECONDS`, or what each landing can bear."""
    return float(os.environ.get("PERDURE_TEST_CHAOS_SECONDS", usual))


def chosen_seed() -> int:
    """`PERDURE_TEST_CHAOS_SEED`, or a new one each time; it is printed with the counters."""
    return int(os.environ.get("PERDURE_TEST_CHAOS_SEED") or random.SystemRandom().getrandbits(32))
