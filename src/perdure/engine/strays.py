"""Forked children that come back from a user's function: they end there.

A child that `os.fork` made has a copy of everything of ours, the lease and the way to record an
outcome too. If it came back from the function where it was made, it would go on as if it were its
parent.
"""

from __future__ import annotations

import os
from typing import NoReturn

process = os.getpid()
"""This process. Kept, because the system is asked for it before and after every body."""


def _after_fork() -> None:
    global process  # noqa: PLW0603 - one number per process
    process = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


class OneProcess:
    """A block that a user's function runs in, and that no forked child of it leaves alive.

    What the child has not flushed is lost, as with `os._exit`: its buffers are its parent's too.
    """

    __slots__ = ("_home", "_what")

    def __init__(self, what: str) -> None:
        """Name the function, for the message."""
        self._what = what
        self._home = process

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        """End this process if it is a child; `sys.exit(n)` there is its way to end, with its n."""
        if process != self._home:
            end_child(self._what, error)


def end_child(what: str, error: BaseException | None) -> NoReturn:
    """End this process, a child that came back from a user's function."""
    if isinstance(error, SystemExit):
        code = error.code
        os._exit(code if isinstance(code, int) else int(code is not None))
    how = "returned" if error is None else f"raised {type(error).__name__}: {error}"
    text = (
        f"perdure: {what} forked, and the child (pid {os.getpid()}) {how}. It was ended: "
        "only the process that called the function may give its outcome. End a forked child "
        "with os._exit(), or use subprocess or multiprocessing.\n"
    )
    # Not through sys.stderr: another thread of the parent may have held its lock at the fork.
    os.write(2, text.encode("utf-8", "backslashreplace"))
    os._exit(1)
