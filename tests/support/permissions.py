"""File permissions for tests that root runs too."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def without_root() -> Iterator[Path]:
    """An empty current folder, and until the end no right to ignore permissions.

    For root no file is read-only. So root gives up its effective user id for a while; the folder is
    not in `tmp_path`, where nobody else may go. Other users keep theirs. Do before what is to be
    done there: a module that is not imported yet may be out of reach.
    """
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        if user == 0:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)
