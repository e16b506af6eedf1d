"""What every test gets. Fixtures of one area belong into that area's own conftest."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

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


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run, before its worker processes start; they inherit the environment."""
    hear_signals()
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
