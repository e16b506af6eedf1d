"""What backends do around `os.fork`. It knows their three hooks and nothing else about them.

A backend that was asked to take part is held weakly: it needs no call to leave.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object whose locks and handles must not be caught half way by a fork."""

    def before_fork(self) -> None:
        """In the parent: let nothing be in flight from here on."""
        ...

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        ...

    def after_fork_in_child(self) -> None:
        """In the child, which has one thread: start afresh, touch nothing of the parent's."""
        ...


_members: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_forking: list[ForkAware] = []
_one_fork = threading.RLock()
"""Held from before a fork until after it: two threads that fork at once would mix `_forking` up."""


def watch_forks(member: ForkAware) -> None:
    """Call the hooks of `member` around every later `os.fork`, for as long as it lives."""
    _members.add(member)


def _before() -> None:
    _one_fork.acquire()
    _forking[:] = list(_members)
    for member in _forking:
        member.before_fork()


def _in_parent() -> None:
    for member in _forking:
        member.after_fork_in_parent()
    _forking.clear()
    _one_fork.release()


def _in_child() -> None:
    for member in _forking:
        member.after_fork_in_child()
    _forking.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
