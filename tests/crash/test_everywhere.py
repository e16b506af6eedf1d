"""Every program, killed at every durable boundary: before it, after it, outcome unknown.

More of the sampled double crashes: PERDURE_TEST_CRASH_PAIRS=200 pytest tests/crash
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure import Perdure
from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.backends.memory_server import MemoryServer
from perdure.backends.postgres import PostgresBackend
from perdure.backends.sharded import ShardedBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.engine.env import Env, SystemEnv
from perdure.testing.crash import MakeApp, crash_everywhere
from perdure.testing.faults import Mode
from tests.programs import MODULES, Program, programs
from tests.support.postgres import empty_database
from tests.support.stores import server_url

pytestmark = pytest.mark.timeout(600)  # Hundreds of runs each; a crowded machine takes its time.

PROGRAMS = programs(*MODULES)
PAIRS = int(os.environ.get("PERDURE_TEST_CRASH_PAIRS", "10"))
ALL = [pytest.param(program, id=name) for name, program in PROGRAMS.items()]
SOME = ALL[::5]
"""The others run with more pairs, which takes an hour and more."""
OTHERS = ALL[2::4]
HALF = ALL[1::2]
ABROAD = ("given", "told")
GIVEN = [each for each in ALL if any(w in str(each.id) for w in ABROAD) and each not in SOME]
"""Those that have to do with other servers: whose children or topics may live there."""


def maker(program: Program, grace: float, *, local_worker: bool = True) -> MakeApp:
    def make_app(backend: Backend, env: Env) -> Perdure:
        app = Perdure(
            backend=backend, env=env, name="crash", grace=grace, local_worker=local_worker
        )
        program.build(app)
        return app

    return make_app


def stores(folder: Path) -> Callable[[], Backend]:
    numbers = itertools.count()
    return lambda: SQLiteBackend(folder / f"{next(numbers)}.db", synchronous="normal")


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) >= 16
    assert all(PROGRAMS[each.twin].twin == each.name for each in PROGRAMS.values() if each.twin)


@pytest.mark.parametrize("program", ALL)
def test_frames_dropped_at_each_wait(program: Program) -> None:
    report = crash_everywhere(
        maker(program, 0.0), "main", program.args, make_store=MemoryBackend, pairs=PAIRS
    )
    report.raise_problems()
    struck = {mode for _, mode in report.struck}
    assert struck == set(Mode), "each way was tried"
    assert report.failed == program.name.endswith("failing")
    assert report.runs > 4 * report.boundaries


@pytest.mark.parametrize("program", ALL if PAIRS > 10 else HALF)
def test_frames_kept_at_waits(program: Program) -> None:
    report = crash_everywhere(
        maker(program, 0.1),
        "main",
        program.args,
        make_store=MemoryBackend,
        modes=(Mode.AFTER, Mode.UNKNOWN),
        pairs=PAIRS,
        seed=1,
    )
    report.raise_problems()


@pytest.mark.parametrize("program", ALL if PAIRS > 10 else OTHERS)
def test_on_sqlite(program: Program, tmp_path: Path) -> None:
    """Dying before a call is dying after the one before it, so that way is left to memory."""
    report = crash_everywhere(
        maker(program, 0.0),
        "main",
        program.args,
        make_store=stores(tmp_path),
        modes=(Mode.AFTER, Mode.UNKNOWN, Mode.STOLEN),
        pairs=PAIRS // 3,
        seed=2,
    )
    report.raise_problems()


@pytest.mark.parametrize("program", ALL if PAIRS > 10 else SOME)
def test_beside_a_worker_that_claims_what_is_started(program: Program) -> None:
    """The start is a claim here: another boundary than a start and a claim are."""
    report = crash_everywhere(
        maker(program, 0.0, local_worker=False),
        "main",
        program.args,
        make_store=MemoryBackend,
        pairs=PAIRS // 3,
        seed=5,
    )
    report.raise_problems()
    assert {mode for call, mode in report.struck if call == "start"} == set(Mode)


def two_servers() -> Backend:
    return ShardedBackend([(f"server {n}", MemoryServer(SystemEnv().now)) for n in (1, 2)])


@pytest.mark.parametrize("program", ALL if PAIRS > 10 else [*SOME, *GIVEN])
def test_on_two_servers(program: Program) -> None:
    report = crash_everywhere(
        maker(program, 0.0),
        "main",
        program.args,
        make_store=two_servers,
        modes=(Mode.AFTER, Mode.UNKNOWN, Mode.UNKNOWN_LOST, Mode.STOLEN),
        pairs=PAIRS // 3,
        seed=4,
    )
    report.raise_problems()


@pytest.mark.parametrize("program", ALL if PAIRS > 10 else SOME)
def test_on_postgres(program: Program) -> None:
    """A round trip per statement makes this the slow one: some programs, all of them by option."""
    url = server_url()
    report = crash_everywhere(
        maker(program, 0.0),
        "main",
        program.args,
        make_store=lambda: PostgresBackend(empty_database(url)),
        modes=(Mode.UNKNOWN, Mode.STOLEN),
        pairs=0,
        seed=3,
    )
    report.raise_problems()
