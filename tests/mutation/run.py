"""Runs tests on mutants, each in a process of its own that was forked before it imported anything
of the package. What is heavy and not ours (pytest, hypothesis, pydantic) is imported once."""

from __future__ import annotations

import asyncio  # noqa: F401 - imported before the forks, as are the next five
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, ModuleType

import execnet  # noqa: F401
import hypothesis
import msgspec  # noqa: F401
import psycopg  # noqa: F401
import pydantic  # noqa: F401
import pytest
import xdist.plugin  # type: ignore[import-untyped] # noqa: F401

from tests.mutation.mutants import SOURCE, Mutant

SLOWER = 4.0
"""So many times the tests may take on a mutant as without one, and `PATIENCE` seconds more."""
PATIENCE = 15.0
SLOW_SECONDS = 0.2
"""Tests that take longer come last: most mutants are seen by one that takes no time."""
TOLD = "told.json"
MEMORY_BYTES = 4 << 30
"""Of address space: a loop that never ends may collect."""


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    ENDLESS = "endless"
    """Killed, as the tests did not end."""
    SURVIVED = "survived"


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads the source of a mutant in the place of the file."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__(name, str(SOURCE / mutant.file))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        module = ".".join(("perdure", *Path(mutant.file).with_suffix("").parts))
        self._name = module.removesuffix(".__init__")
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, self._mutant))


class _Quick:
    """Slow tests come last, and examples that fail are not made smaller: nobody will read them.

    Args:
        told: where the first run leaves how long each test took, and what it imported.
    """

    def __init__(self, told: Path) -> None:
        self._told = told
        self._seconds: dict[str, float] = {}
        if told.exists():
            self._seconds = json.loads(told.read_text(encoding="utf-8"))["seconds"]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = {name: each for name, each in self._seconds.items() if each > SLOW_SECONDS}
        items.sort(key=lambda item: known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._seconds[report.nodeid] = report.duration

    def pytest_sessionfinish(self) -> None:
        if not self._told.exists():
            told = {"seconds": self._seconds, "modules": list(sys.modules)}
            self._told.write_text(json.dumps(told), encoding="utf-8")

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        usual = hypothesis.settings.get_profile("ci")
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutation", parent=usual, phases=phases)
        hypothesis.settings.load_profile("mutation")


def _import_what_is_not_ours(told: Path) -> None:
    """Of what the first run imported, before the other forks, each of which would do it again."""
    for name in json.loads(told.read_text(encoding="utf-8"))["modules"]:
        if name.partition(".")[0] not in {"perdure", "tests"}:
            with contextlib.suppress(ImportError):  # such as one that a test has made
                importlib.import_module(name)
    gc.freeze()


@dataclass
class _Running:
    mutant: Mutant | None
    until: float
    began: float
    folder: Path


class Judge:
    """Judges mutants by one set of tests, several at a time."""

    def __init__(
        self,
        tests: Sequence[str],
        workers: int,
        *,
        slower: float = SLOWER,
        patience: float = PATIENCE,
    ) -> None:
        self._tests = tests
        self._workers = workers
        self._slower, self._patience = slower, patience
        self._limit = 600.0
        self._running: dict[int, _Running] = {}
        self._environment = {
            "PERDURE_TEST_PG_URL": "postgresql://127.0.0.1:1/none",  # no server is started for it
            "PERDURE_TEST_UUIDS": "2000",
        }

    def judge(self, mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, Verdict]]:
        """Each mutant with what became of it, in the order in which they ended.

        Raises:
            RuntimeError: the tests fail without any fault.
        """
        assert "perdure" not in sys.modules, "a mutant would not be loaded"
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            with tempfile.TemporaryDirectory() as folder:
                # The first run leaves what it compiled to the others; nothing of it stays.
                sys.pycache_prefix, sys.dont_write_bytecode = str(Path(folder, "compiled")), False
                self._start(None, Path(folder))
                while not (ended := self._ended()):
                    pass
                ((_, verdict, seconds),) = ended
                if verdict is not Verdict.SURVIVED:
                    raise RuntimeError(f"pytest {' '.join(self._tests)} fails on the code as it is")
                self._limit = seconds * self._slower + self._patience
                _import_what_is_not_ours(Path(folder, TOLD))
                for mutant in mutants:
                    self._start(mutant, Path(folder))
                    while len(self._running) >= self._workers:
                        yield from self._verdicts()
                while self._running:
                    yield from self._verdicts()
        finally:
            for pid in self._running:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def _verdicts(self) -> Iterator[tuple[Mutant, Verdict]]:
        for mutant, verdict, _ in self._ended():
            assert mutant is not None
            yield mutant, verdict

    def _start(self, mutant: Mutant | None, folder: Path) -> None:
        sys.stdout.flush()
        own = folder / str(time.monotonic_ns())
        pid = os.fork()
        if pid == 0:
            self._run(mutant, own)
        began = time.monotonic()
        self._running[pid] = _Running(mutant, began + self._limit, began, own)

    def _run(self, mutant: Mutant | None, folder: Path) -> None:
        """In the process: never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            os.environ |= self._environment
            if mutant is not None:
                sys.meta_path.insert(0, _Finder(mutant))
            imported = "-Wignore::pytest.PytestAssertRewriteWarning"  # before the forks
            how = ("-x", "-q", "-n0", imported, "-p", "no:cacheprovider", f"--basetemp={folder}")
            codes = (
                int(pytest.main([*how, *tests], plugins=[_Quick(folder.with_name(TOLD))]))
                for tests in (self._named_after(mutant), self._tests)
                if tests
            )
            code = next(filter(None, codes), 0)
        finally:
            os._exit(code)

    def _named_after(self, mutant: Mutant | None) -> Sequence[str]:
        """Those that most likely see it, to be asked first: to collect them all takes a while."""
        if mutant is None:
            return ()
        pattern = f"test_{Path(mutant.file).stem.strip('_')}*.py"
        return [str(path) for tests in self._tests for path in Path(tests).glob(pattern)]

    def _ended(self) -> list[tuple[Mutant | None, Verdict, float]]:
        """Those that have ended, after a wait for the first of them."""
        left = min(each.until for each in self._running.values()) - time.monotonic()
        if left > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
        found: list[tuple[Mutant | None, Verdict, float]] = []
        now = time.monotonic()
        for pid, running in list(self._running.items()):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if not gone and now < running.until:
                continue
            verdict = Verdict.KILLED if status else Verdict.SURVIVED
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # also what the tests have started
            if not gone:
                os.waitpid(pid, 0)
                verdict = Verdict.ENDLESS
            shutil.rmtree(running.folder, ignore_errors=True)
            del self._running[pid]
            found.append((running.mutant, verdict, now - running.began))
        return found
