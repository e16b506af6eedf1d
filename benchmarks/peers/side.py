"""The other side of the table: a peer that does a work in a process of its own, once per round."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.bench import Figures
from benchmarks.peers.catalogue import Peer
from benchmarks.sizes import Sizes

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 400.0
END_SECONDS = 5.0
TOLD_CHARACTERS = 400

Database = Callable[[], AbstractContextManager[str]]
"""Gives the URL of an empty database for the length of a with block."""


class PeerSide:
    """A peer that is installed.

    Args:
        python: of its environment.
        database: for a peer on PostgreSQL.
    """

    def __init__(
        self, peer: Peer, python: Path, sizes: Sizes, database: Database | None = None
    ) -> None:
        self.peer = peer
        self.label = peer.label
        self.sizes = sizes
        self._python = python
        self._database = database

    def does(self, work: str) -> bool:
        """Whether this work can be done with it."""
        return work in self.peer.works

    def measure(self, work: str) -> Figures:
        """Run its program once, with a fresh store.

        Raises:
            RuntimeError: it failed or took too long; the end of its log is told.
        """
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(self._database()) if self._database else ""
            # What was killed may still be at its last write.
            kept = tempfile.TemporaryDirectory(prefix="perdure-peer-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(kept))
            (folder / "store").mkdir()
            log = folder / "log"
            command = self.command(work, folder / "store", url)
            with log.open("wb") as errors, _process(command, folder, errors.fileno()) as process:
                try:
                    out, _ = process.communicate(timeout=RUN_SECONDS)
                except subprocess.TimeoutExpired:
                    raise RuntimeError(f"It took more than {RUN_SECONDS:g} s.") from None
            if process.returncode:
                told = log.read_text("utf-8", "replace")[-TOLD_CHARACTERS:]
                raise RuntimeError(f"It ended with {process.returncode}: {told}")
            return figures_of(out)

    def command(self, work: str, folder: Path, url: str) -> list[str]:
        """What is run by the peer's own Python."""
        words = [str(self._python), "-m", f"benchmarks.peers.run_{self.peer.name}", work]
        words += ["--folder", str(folder), "--url", url]
        words += ["--count", str(self.peer.count(work, self.sizes))]
        return [*words, "--concurrency", str(self.peer.concurrency)]


def figures_of(out: str) -> Figures:
    """The figures in the last line of a program's output.

    Raises:
        RuntimeError: there are none.
    """
    lines = out.strip().splitlines()
    try:
        found = json.loads(lines[-1])
        return {str(name): float(value) for name, value in found.items()}
    except (IndexError, ValueError, AttributeError):
        told = out.strip()[-TOLD_CHARACTERS:]
        raise RuntimeError(
            f"It should have printed figures as JSON, and printed: {told!r}"
        ) from None


@contextlib.contextmanager
def _process(command: list[str], folder: Path, log: int) -> Generator[subprocess.Popen[str]]:
    """A process and all that it starts; nothing of it is left at the end."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(END_SECONDS)
