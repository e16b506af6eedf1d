"""What must not happen while a decoder reads hostile bytes. An audit hook stays until the end of
its process, so this is for processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

MEMORY_BYTES = 768 * 1024 * 1024
"""How much more address space than at the start the process may have; one allocation over it is a
`MemoryError`."""
RESIDENT_BYTES = 384 * 1024 * 1024
"""How much larger than at the start it may have been. Decoders answer a `MemoryError` with an error
of their own, so what they took is measured too."""

BAIT = "perdure_bait"
"""A module that is loaded, and that nobody has a reason to look into."""

_FORBIDDEN = frozenset(
    {
        *("import", "exec", "compile", "marshal", "pickle", "code", "function"),
        *("os", "subprocess", "pty", "socket", "ssl", "urllib", "http", "ftplib", "smtplib"),
        *("shutil", "tempfile", "glob", "ctypes", "mmap", "sqlite3", "webbrowser", "signal"),
    }
)
_FORBIDDEN_EVENTS = frozenset({"builtins.input", "builtins.breakpoint"})
_ALLOWED = frozenset({"os.listdir", "os.scandir", "os.walk"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Forbidden(BaseException):
    """A decoder did what no decoder may do. No `except Exception` on the way keeps it quiet."""


class Guard:
    """The only one of its process. While it is armed, what is forbidden is noted and stopped."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._armed = False
        sys.modules[BAIT] = _Bait(self)
        sys.meta_path.insert(0, _Finder(self))
        sys.addaudithook(self._hear)

    def note(self, what: str) -> None:
        """Something happened that is forbidden while armed."""
        if self._armed:
            self._armed = False  # what follows from it is not news
            self.seen.append(what)
            raise Forbidden(what)

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Watch, from here to the end of the block.

        Raises:
            Forbidden: something was seen, also if another thread did it, or somebody went on.
        """
        self.seen.clear()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            if self.seen:
                raise Forbidden(self.seen[0])

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, mode, flags = args
            if isinstance(flags, int) and flags & _WRITES:
                self.note(f"open {path!r} with mode {mode!r} for writing")
        elif event == "compile" and _is_for_a_traceback():
            return
        elif event in _FORBIDDEN_EVENTS or (
            event.partition(".")[0] in _FORBIDDEN and event not in _ALLOWED
        ):
            self.note(f"{event} {args!r:.200}")


def _is_for_a_traceback() -> bool:
    """Whether the standard library parses a line of source to point at a part of it."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "ast":
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "traceback"


class _Finder:
    """Sees imports that raise no audit event: `importlib.import_module` of what is not there."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        self._guard.note(f"import of {name!r}")
        return None


class _Bait(types.ModuleType):
    """Sees who looks for something by a path of names in what is loaded."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(BAIT)
        self._guard = guard

    def __getattr__(self, name: str) -> object:
        self._guard.note(f"look into the module {BAIT!r} for {name!r}")
        raise AttributeError(name)


def limit_memory() -> None:
    """From now on the address space may grow by so much only."""
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, hard))


def most_resident() -> int:
    """The largest that this program has been, in bytes.

    Not what `getrusage` tells: that begins with the size of the process which started this one.
    """
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
