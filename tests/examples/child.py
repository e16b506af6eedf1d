"""Runs the example in a process of its own that can be told to die at a certain moment.

    python child.py EXAMPLE LOG MOMENT COUNT [ARGUMENTS]

`LOG` gets a line for each file that is read. At the `COUNT`-th time of `MOMENT` the process is
killed as by `kill -9`, or gets a Ctrl-C. Nothing in the example knows of this.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

example, log, moment, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
sys.path.insert(0, str(example))
sys.argv = [str(example / "main.py"), *sys.argv[5:]]

modules: list[Any] = [importlib.import_module(name) for name in ("files", "index", "main")]
files, index, main = modules

# A batch per four files, and a listing in many pieces.
main.BATCH_FILES = 4
main.CHUNK_FILES = 7

left = count


def reached(now):
    """Die here if this is the moment."""
    global left
    if now != moment:
        return
    left -= 1
    if left == 0:
        if now == "interrupted":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            main.app.runtime.stopping.wait()  # the batch goes on once the command lets go
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def read_file(directory, listed):
    with Path(log).open("a", encoding="utf-8") as lines:
        print(listed.path, file=lines)
    reached("read")
    reached("interrupted")
    return files.read_file(directory, listed)


real_transaction = index.transaction


@contextlib.contextmanager
def transaction(path):
    with real_transaction(path) as connection:
        yield connection
        reached("before commit")
    reached("after commit")


real_walk = main.walk


def walk(*arguments):
    reached("listing")
    for listed in real_walk(*arguments):
        reached("listed")
        yield listed


real_replace = Path.replace


def replace(self, target):
    reached("before report")
    moved = real_replace(self, target)
    reached("after report")
    return moved


main.read_file = read_file
index.transaction = transaction
main.walk = walk
setattr(Path, "replace", replace)  # noqa: B010 - a type checker refuses the assignment

sys.exit(main.main())
