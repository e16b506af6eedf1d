"""What every test gets. Fixtures of one area belong into that area's own conftest."""

from __future__ import annotations

import signal

from hypothesis import settings

# Tests never depend on luck: the same examples on every run and machine, no time limit that a busy
# machine could break, no database of examples that would make two runs differ.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
# For hunting: `pytest --hypothesis-profile=explore`.
settings.register_profile("explore", deadline=None, database=None, max_examples=2000)
settings.load_profile("ci")


def pytest_configure() -> None:
    """Let the processes of tests hear Ctrl-C even if this one was started as a background job.

    A shell starts those with SIGINT ignored, and children inherit that: Python then installs no
    handler, and a test that interrupts a process would wait for ever. So with SIGTERM, too.
    """
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
