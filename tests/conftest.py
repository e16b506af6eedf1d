"""What every test gets. Fixtures of one area belong into that area's own conftest."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import evict
from tests.support.postgres import URL_VARIABLE, PostgresServer

# Tests never depend on luck: the same examples on every run and machine, no time limit that a busy
# machine could break, no database of examples that would make two runs differ.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
# For hunting: `pytest --hypothesis-profile=explore`.
settings.register_profile("explore", deadline=None, database=None, max_examples=2000)
settings.load_profile("ci")


PG_FAILURE = "PERDURE_TEST_PG_FAILURE"
"""Why no server could be started; every test that needs one fails with it."""

_servers: list[PostgresServer] = []

KEEPS = "keeps_frames"
"""The mark of tests that are about frames that are kept, or about the attempts that it takes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """One switch, with which every test runs."""
    parser.addoption(
        "--evict",
        action="store_true",
        default=evict.VARIABLE in os.environ,
        help="drop the frame of a workflow at every wait and replay it, in every test; those "
        f"marked {KEEPS}(reason) run as ever, and are listed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run, before its worker processes start; they inherit the environment."""
    hear_signals()
    config.addinivalue_line("markers", f"{KEEPS}(reason): runs without --evict, and why")
    if config.option.evict:
        os.environ[evict.VARIABLE] = "1"
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not config.option.collectonly and URL_VARIABLE not in os.environ:
        try:
            server = PostgresServer()
            _servers.append(server)
            server.start()
            os.environ[URL_VARIABLE] = server.url()
        except (OSError, RuntimeError) as error:
            os.environ[PG_FAILURE] = str(error)


def pytest_unconfigure() -> None:
    """The server that this run started ends with it."""
    while _servers:
        _servers.pop().remove()


@pytest.fixture(autouse=True)
def always_evict(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--evict`, drop frames in this test, unless it is marked as one that needs them."""
    if not request.config.option.evict:
        yield
        return
    mark = request.node.get_closest_marker(KEEPS)
    with pytest.MonkeyPatch.context() as patch:
        if mark is None:
            evict.install(patch)
        else:
            (reason,) = mark.args
            request.node.user_properties.append((KEEPS, reason))
            patch.delenv(evict.VARIABLE)  # its processes keep theirs too
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which tests kept their frames although frames were to be dropped."""
    kept = Counter(
        (report.nodeid.partition("[")[0], reason)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, reason in report.user_properties
        if name == KEEPS
    )
    if kept:
        terminalreporter.section(f"{kept.total()} tests kept their frames")
        for (test, reason), times in sorted(kept.items()):
            terminalreporter.write_line(f"{times:4} {test}: {reason}")


def hear_signals() -> None:
    """Let the processes of tests hear Ctrl-C even if this one was started as a background job.

    A shell starts those with SIGINT ignored, and children inherit that: Python then installs no
    handler, and a test that interrupts a process would wait for ever. So with the other two.
    """
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
