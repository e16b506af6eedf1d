"""`perdure demo`: runs the order, kills it half-way, runs it again, and tells what happened.

The kill comes at one point only: when the journal holds `KILL_AFTER` task results and the next task
has begun. That is seen in the journal and in the file of effects; no clock decides it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import perdure
from perdure.api.settings import Settings
from perdure.backends.base import Backend
from perdure.cli.demo_order import DATABASE, EFFECTS, ORDER_ID
from perdure.cli.demo_story import CUT_OFF, REPLAYED, Effect, Reading, Story, read_effects
from perdure.cli.failures import CommandError, Exit
from perdure.cli.output import Cell, Output
from perdure.cli.text import shorten
from perdure.drivers import make_backend
from perdure.engine.env import SystemEnv

KILL_AFTER = 3
"""Recorded task results at which the first process is killed: the charge and two of three boxes."""
PATIENCE_SECONDS = 30.0
"""How long one step may take before the demo gives up."""
LOOK_SECONDS = 0.01
PACE_SECONDS = 0.4
"""How long a task works, for people to watch. Without a terminal it takes no time at all."""
COMMAND = "python -m perdure.cli.demo_order"


def demo(out: Output, *, as_json: bool, keep: bool) -> Exit:
    """Play the story and print it."""
    directory = Path(tempfile.mkdtemp(prefix="perdure-demo-"))
    try:
        with ExitStack() as stack:
            story = _Stage(out, directory, stack, quiet=as_json).play()
        claims = story.claims()
        if as_json:
            out.json(story.as_json())
        else:
            _print(out, story)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if keep:
        url = f"sqlite:///{directory / DATABASE}"
        out.message(f"Look yourself: perdure workflow show {ORDER_ID} --url {url}")
    return Exit.OK if all(claim.holds for claim in claims) else Exit.FAILED


def _print(out: Output, story: Story) -> None:
    out.line()
    out.line("What each process did, by the journal", "bold")
    styles = {REPLAYED: "cyan", CUT_OFF: "bold red"}
    first, second = story.pids
    out.table(
        ("KEY", "OPERATION", f"PROCESS 1 ({first})", f"PROCESS 2 ({second})", "VALUE"),
        [
            (
                op.key,
                op.what.partition("(")[0],
                Cell(op.first, styles.get(op.first, "green")),
                Cell(op.second, styles.get(op.second, "green")),
                shorten(op.value),
            )
            for op in story.operations()
        ],
    )
    out.line()
    out.line("What that shows, by the journal and by what the tasks wrote outside", "bold")
    for claim in story.claims():
        mark, style = ("ok  ", "green") if claim.holds else ("NOT ", "bold red")
        out.line(f"  {mark}{claim.text}", style)


class _Stage:
    """The processes, the database and the file of effects of one demo."""

    def __init__(self, out: Output, directory: Path, stack: ExitStack, *, quiet: bool) -> None:
        self._out = out
        self._directory = directory
        self._stack = stack
        self._quiet = quiet
        self._pace = PACE_SECONDS if out.out.is_terminal and not quiet else 0.0
        self._backend: Backend | None = None
        self._told = 0

    def play(self) -> Story:
        """Run, kill, run again."""
        self._tell("An order is charged, packed and shipped by a durable workflow.", "bold")
        first = self._start()
        self._tell(f"\nProcess 1 (pid {first.pid}): {COMMAND}")
        self._conduct(first, KILL_AFTER)
        first.send_signal(signal.SIGKILL)
        first.wait()
        killed = self._read()
        self._tell(
            f"  kill -9 {first.pid}    {len(killed.task_results)} task results are recorded, and "
            "the next task is at work",
            "bold red",
        )
        second = self._start()
        self._tell(f"\nProcess 2 (pid {second.pid}): the same command again")
        self._conduct(second, None)
        ended = self._read()
        self._tell(f"  completed     {(ended.record.outcome or b'').decode()}", "green")
        return Story(
            pids=(first.pid, second.pid), killed=killed, ended=ended, effects=self._effects()
        )

    # --- processes ------------------------------------------------------------------------------

    def _start(self) -> subprocess.Popen[bytes]:
        # Nothing of the caller's settings reaches the order: not its environment, not its files.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
        paths = [str(Path(perdure.__file__).parents[1]), *filter(None, sys.path)]
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).resolve()) for path in paths)
        log = self._stack.enter_context((self._directory / "errors.txt").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "perdure.cli.demo_order"],
            cwd=self._directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
        self._stack.callback(_end, process)
        return process

    def _conduct(self, process: subprocess.Popen[bytes], results: int | None) -> None:
        """Let task after task do its work until so many results are recorded (None: to the end).

        It returns with the next task at work, or with the process ended.
        """
        while (task := self._await_task(process)) is not None:
            if results is not None and len(self._read().task_results) >= results:
                return
            time.sleep(self._pace)
            if process.stdin is not None:
                process.stdin.write(b"\n")
                process.stdin.flush()
            self._wait_for(process, functools.partial(self._is_done, task))
        if results is not None or process.returncode != 0:
            raise self._gave_up(f"process {process.pid} ended with code {process.returncode}")

    def _await_task(self, process: subprocess.Popen[bytes]) -> Effect | None:
        """Wait until a task of this process is at work; None if the process ended instead."""
        task: Effect | None = None

        def found() -> bool:
            nonlocal task
            ended = process.poll() is not None  # before the look: what it wrote last is seen
            mine = [effect for effect in self._effects() if effect.pid == process.pid]
            if mine and mine[-1].event == "began" and not ended:
                task = mine[-1]
            return task is not None or ended

        self._wait_for(process, found)
        return task

    def _is_done(self, task: Effect) -> bool:
        done = (effect for effect in self._effects() if effect.event == "done")
        return any(effect.key == task.key and effect.pid == task.pid for effect in done)

    def _wait_for(self, process: subprocess.Popen[bytes], look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not look():
            if time.monotonic() > deadline:
                raise self._gave_up(f"process {process.pid} came to a standstill")
            time.sleep(LOOK_SECONDS)

    def _gave_up(self, why: str) -> CommandError:
        said = (self._directory / "errors.txt").read_text("utf-8", "replace")[-2000:]
        return CommandError(f"The demo did not come to its end: {why}.\n{said}", Exit.FAILED)

    # --- reading --------------------------------------------------------------------------------

    def _effects(self) -> list[Effect]:
        try:
            effects = read_effects((self._directory / EFFECTS).read_text("utf-8"))
        except FileNotFoundError:
            return []
        self._tell_effects(effects)
        return effects

    def _read(self) -> Reading:
        """The workflow as the database has it now. Called once a task has begun, so it exists."""
        if self._backend is None:
            settings = Settings(database_url=f"sqlite:///{self._directory / DATABASE}")
            self._backend = make_backend(settings, SystemEnv(), read_only=True)
            self._stack.callback(self._backend.close)
        record = self._backend.read(ORDER_ID)
        if record is None:
            raise self._gave_up(f"there is no {ORDER_ID!r} in its database")
        return Reading(record, self._backend.read_journal(record.key)[: record.head])

    # --- telling --------------------------------------------------------------------------------

    def _tell(self, text: str, style: str = "") -> None:
        if not self._quiet:
            self._out.line(text, style)

    def _tell_effects(self, effects: list[Effect]) -> None:
        for effect in effects[self._told :]:
            if effect.event == "done":
                self._tell(f"  ran           {effect.result}")
            elif effect.key in {e.key for e in effects if e.pid != effect.pid}:
                self._tell(f"  runs again    {effect.task}")
        self._told = len(effects)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever happened."""
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # the killed one did not read its last line
            process.stdin.close()
