"""Branches of a sync workflow: functions on threads of their own, of which one runs at a time.

They are handed on like coroutines. What waits hands control back to the thread of the attempt,
which steps the others in the rhythm of the async loop: run what is ready, first in first out, until
nothing is; then hand over the next delivery of the journal, exactly one; again. So the order in
which branches go on is the order of the journal, and the same program leaves the same journal in
both colours. Bodies of tasks run at the same time, on other threads.

Only who has control touches the attempt. An attempt has no `Branches` before its first branch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from perdure.backends.base import Suspend
from perdure.engine.attempt import PARKING, REFUSALS_MAX, Attempt
from perdure.engine.beginning import held_back
from perdure.engine.bodies import Result
from perdure.engine.branch import Branch, Pause, end_branch
from perdure.engine.context import WorkflowContext, enter
from perdure.engine.drive import BodyAnswer
from perdure.engine.effects import RunBody, Wait
from perdure.engine.heartbeats import was_lost
from perdure.engine.lines import calling_line
from perdure.engine.outcome import Unfinished
from perdure.engine.runtime import UNAVAILABLE_SECONDS, logger
from perdure.engine.strays import OneProcess
from perdure.errors import (
    BackendError,
    Cancelled,
    InternalError,
    OperationRefused,
    PerdureError,
    Suspended,
    SuspensionSwallowed,
)

BRANCHES_MAX = 1_000
"""Branches of one sync workflow at a time: each may hold a thread, and the next attempt all."""


class Branches:
    """The branches of one attempt, and what of them is ready.

    Attributes:
        live: those whose end is not noted yet.
        finished: what is to be done about bodies that ended; others may append to it.
    """

    def __init__(self, attempt: Attempt) -> None:
        """Only the root, which runs, on this thread."""
        self._attempt = attempt
        self._env = attempt.runtime.env
        self._root = Branch(attempt.journal.scope(""), object, self._env.signal())  # runs already
        self._current = self._root
        self._is_roots_turn = False
        self._back = self._env.signal()
        self._ready: deque[Callable[[], None]] = deque()
        self._running = 0
        self._turns: list[Pause] = []
        self.live: dict[Branch, None] = {}
        self.finished: deque[Callable[[], None]] = deque()

    @property
    def current(self) -> Branch:
        """The branch that runs now."""
        return self._current

    # --- what a branch asks for -----------------------------------------------------------------

    def begin(self, run: Callable[[], object]) -> Branch:
        """Make a branch below the one that runs. It is called when it is its turn.

        Raises:
            OperationRefused: there are too many.
        """
        if len(self.live) >= BRANCHES_MAX:
            raise OperationRefused(
                f"A sync workflow may have {BRANCHES_MAX:,} branches at a time, each of which may "
                "hold a thread; another one was asked for. Use wf.map(function, items, limit=...), "
                "which makes a branch when one ends, or an async workflow."
            )
        branch = self.make(run)
        self.release(branch)
        return branch

    def make(self, run: Callable[[], object]) -> Branch:
        """Make a branch below the one that runs, which is not called before its release."""
        parent = self._current.scope
        scope = self._attempt.journal.open_scope(parent.next_branch(), parent.clock)
        return Branch(scope, run, self._env.signal())

    def release(self, branch: Branch) -> None:
        """A branch that was made is called when it is its turn, from now on."""
        self.live[branch] = None
        self._ready.append(partial(self._start, branch))

    def number(self) -> int:
        """How many branches the one that runs has made."""
        return self._current.scope.branches

    def gate(self) -> Gate:
        """A place where branches wait for what other branches do."""
        return Gate(self)

    def join(self, branches: Sequence[Branch]) -> None:
        """Wait until all of these have ended, however they do.

        Raises:
            Cancelled: who waits was cancelled; that was passed on to them, and they have ended.
        """
        waiting = [branch for branch in branches if not branch.ended]
        if not waiting:
            return
        pause = Pause(self._current, waiting)
        left = set(waiting)

        def ended(branch: Branch) -> None:
            left.discard(branch)
            if not left:
                self.fulfil(pause)

        for branch in waiting:
            branch.watchers.append(ended)
        self.wait_in(pause)
        if pause.cancelled is not None:
            raise pause.cancelled()

    def wait_first(self, branches: Sequence[Branch]) -> None:
        """Wait until one of these has ended.

        Raises:
            Cancelled: who waits was cancelled; they were not.
        """
        pause = Pause(self._current)
        for branch in branches:
            branch.watchers.append(lambda _: self.fulfil(pause))
        self.wait_in(pause)

    def give_up(self, branches: Sequence[Branch], reason: str) -> None:
        """Cancel those of these that have not ended, in order, and wait until they have."""
        left = [branch for branch in branches if not branch.ended]
        for branch in left:
            self.cancel(branch, partial(Cancelled, reason))
        self.join(left)

    def cancel_root(self, signal: Callable[[], Cancelled]) -> None:
        """Cancel the workflow: what the root waits in, or the branches that it waits for."""
        self.cancel(self._root, signal)

    def cancel(self, branch: Branch, signal: Callable[[], Cancelled]) -> bool:
        """Make what a branch waits in raise this, once. False if it has ended.

        As asyncio does it: a branch that waits for others passes it on to them; one that is ready
        already, or has not begun, raises it when it is its turn.
        """
        if branch.ended:
            return False
        pause = branch.pause
        if pause is not None and not pause.over and pause.below:
            passed_on = [below for below in pause.below if self.cancel(below, signal)]
            if passed_on:
                pause.cancelled = signal
            else:
                branch.interrupt = signal()
            return True
        branch.interrupt = signal()
        if pause is not None:
            self.fulfil(pause)
        return True

    # --- operations (perdure.engine.drive) ------------------------------------------------------

    def may_begin(self) -> None:
        """Let others have their turn until the body of the current branch may begin."""
        while held_back(self._attempt, self._running):
            pause = Pause(self._current)
            self._turns.append(pause)
            self.wait_in(pause)

    def _next_turn(self) -> None:
        """Something was delivered, or a body has ended: who is held back looks again."""
        turns, self._turns = self._turns, []
        for pause in turns:
            self.fulfil(pause)

    def run_body(self, effect: RunBody) -> BodyAnswer:
        """Run a task body on another thread while other branches go on, and wait for it."""
        attempt = self._attempt
        while True:
            if effect.once:
                attempt.before_body(announced=True)
                result = self._body(effect)
                if isinstance(result, Unfinished) and not result.may_have_begun:
                    return attempt.pause_after(effect, result)
                return result
            self.may_begin()
            result = self._body(effect)
            if isinstance(result, Unfinished):
                self.wait_any((attempt.pause_after(effect, result),))
            elif was_lost(result):
                attempt.poke()  # what it was told of comes first at the next turn
            elif result is not None:  # else it was held up, and not allowed to start any more
                return result

    def _body(self, effect: RunBody) -> Result:
        attempt = self._attempt
        pause = Pause(self._current)
        results: list[Result] = []

        def deliver(result: Result) -> None:
            def resume() -> None:
                results.append(result)
                self.fulfil(pause)

            self.finished.append(resume)
            attempt.signal.set()

        self._running += 1
        context = attempt.task_context(effect)
        abandon = attempt.runtime.bodies.start(effect.call, context, deliver, attempt.may_start)
        try:
            self.wait_in(pause)
        except BaseException:
            abandon()
            raise
        finally:
            self._running -= 1
        return results[0]

    def wait_any(self, waits: tuple[Wait, ...]) -> Wait:
        """Wait for the first of these to be delivered."""
        mailbox = self._attempt.mailbox
        pause = Pause(self._current)
        try:
            for wait in waits:
                wait.wake = partial(self.fulfil, pause)
                mailbox.add(wait)
                if wait.satisfied:  # the others must take nothing
                    break
            self.wait_in(pause)
        except BaseException:
            for wait in waits:
                mailbox.give_back(wait)
            raise
        finally:
            for wait in waits:
                mailbox.abandon(wait)
        return next(wait for wait in waits if wait.satisfied)

    # --- handing control on ---------------------------------------------------------------------

    def fulfil(self, pause: Pause) -> None:
        """What a branch waits in is over: it is ready, if it waits already."""
        if pause.over:
            return
        pause.over = True
        branch = pause.branch
        if branch.pause is pause:
            self._ready.append(partial(self._resume, branch))

    def wait_in(self, pause: Pause) -> None:
        """Let others run until this pause is over; on the thread of the branch that runs."""
        if self._attempt.halted:
            raise _dropped()
        if pause.over:
            return
        branch = pause.branch
        branch.pause = pause
        try:
            if branch is self._root:
                self._step()
            else:
                self._hand_back(branch)
        finally:
            branch.pause = None
        error, branch.interrupt = branch.interrupt, None
        if error is not None:
            raise error

    def _step(self) -> None:
        """Step all branches until it is the root's turn."""
        attempt, ready = self._attempt, self._ready
        try:
            while not self._is_roots_turn:
                if ready:
                    ready.popleft()()
                elif self.finished:
                    self.finished.popleft()()
                    self._next_turn()
                elif attempt.deliver_next():
                    self._next_turn()
                else:
                    attempt.idle(busy=self._running > 0)
                if attempt.halted:
                    raise _dropped()  # noqa: TRY301 - dropped below like after any other signal
            self._is_roots_turn = False
        except BaseException as error:
            self._drop_for(error)
            if isinstance(error, Exception):
                raise _dropped() from error
            raise

    def _resume(self, branch: Branch) -> None:
        if branch is self._root:
            self._is_roots_turn = True
        else:
            self._hand_over(branch, branch.turn.set)

    def _start(self, branch: Branch) -> None:
        """It is a new branch's turn."""
        if branch.interrupt is not None:
            branch.error, branch.ended = branch.interrupt, True
            self._ready.append(partial(self._finish, branch))
            return
        branch.started = True
        submit = self._attempt.runtime.bodies.branches.submit
        try:
            self._hand_over(branch, lambda: submit(partial(self._run, branch)))
        except RuntimeError as error:
            # No step of the workflow's own: it goes on when there are threads again.
            branch.ended = True
            logger.warning("no thread for a branch of %s: %s", self._attempt.record.key, error)
            self._attempt.flush()
            due = self._attempt.now() + int(UNAVAILABLE_SECONDS * 1e6)
            self._attempt.halt(Suspend(due))

    def _hand_over(self, branch: Branch, go: Callable[[], None]) -> None:
        """Let a branch run until it waits or has ended."""
        self._current = branch
        try:
            go()
            try:
                self._back.wait()
            except BaseException:
                # An interrupt (Ctrl-C). The branch has control still, and must give it back first.
                self._attempt.halt(None)
                self._back.wait()
                raise
        finally:
            self._back.clear()
            self._current = self._root
        if branch.ended:
            self._ready.append(partial(self._finish, branch))

    def _hand_back(self, branch: Branch) -> None:
        """On the thread of a branch: let others run until it is its turn again."""
        self._back.set()
        branch.turn.wait()
        branch.turn.clear()
        if self._attempt.halted:
            raise _dropped()

    def _run(self, branch: Branch) -> None:
        """The whole of a branch, on its own thread."""
        try:
            branch.values.run(self._call, branch)
        finally:
            branch.ended = True
            self._back.set()

    def _call(self, branch: Branch) -> None:
        context = WorkflowContext(self._attempt, branch.scope)
        context.branching = True
        context.made_at = branch.made_at
        enter(context)
        try:
            with OneProcess(f"a branch of workflow {self._attempt.record.name!r}"):
                branch.value = branch.run()
        except BaseException as error:  # noqa: BLE001 - whatever it raises is how it ended
            branch.error = error

    def _finish(self, branch: Branch) -> None:
        """Note the end of a branch and tell who waits for it."""
        del self.live[branch]
        error = branch.error
        ended = "returned"
        if error is not None:
            ended = "cancelled" if isinstance(error, Cancelled) else "raised"
        end_branch(self._attempt.journal, branch.scope, ended)
        for tell in branch.watchers:
            tell(branch)

    # --- dropping -------------------------------------------------------------------------------

    def _drop_for(self, error: BaseException) -> None:
        attempt = self._attempt
        if not attempt.halted:
            if isinstance(error, (*PARKING, BackendError)):
                attempt.drop_for(error)
            elif isinstance(error, Exception):
                attempt.stop(_bug(error))
            else:
                attempt.halt(None)
        self.drop()

    def drop(self) -> None:
        """Raise `Suspended` in every branch until its frame is gone; newest first."""
        for branch in reversed(list(self.live)):
            if branch.started and not branch.ended:
                self._hand_over(branch, branch.turn.set)
        self.live.clear()
        self._ready.clear()

    def refuse(self) -> None:
        """An operation was asked of a dropped frame; of the root's, nothing happens here.

        Raises:
            Suspended: always, in a branch.
        """
        branch = self._current
        if branch is self._root:
            return
        branch.refusals += 1
        if branch.refusals >= REFUSALS_MAX:
            self._attempt.stop(
                SuspensionSwallowed(
                    f"Branch {branch.scope.path!r} of workflow "
                    f"{self._attempt.record.key.invocation_id!r} asked for {REFUSALS_MAX} "
                    "operations after its frame was dropped, the last at "
                    f"{calling_line() or 'an unknown line'}. Some `except BaseException` or bare "
                    "`except` catches the suspension signal; re-raise it there, or catch Exception."
                )
            )
            branch.ended = True
            self._back.set()
            while True:  # its frame stays on this thread, for ever; the others can be dropped
                self._env.signal().wait()
        raise _dropped()


class Gate:
    """Where branches wait for what others do. Who waits looks again each time it is told."""

    def __init__(self, branches: Branches) -> None:
        """Nobody waits."""
        self._branches = branches
        self._waiting: list[Pause] = []

    def wait(self) -> None:
        """Let others run until the next `tell`.

        Raises:
            Cancelled: the branch that waits was cancelled.
        """
        pause = Pause(self._branches.current)
        self._waiting.append(pause)
        self._branches.wait_in(pause)

    def tell(self) -> None:
        """Something is so that was not before: who waits goes on when it is its turn."""
        waiting, self._waiting = self._waiting, []
        for pause in waiting:
            self._branches.fulfil(pause)


def _dropped() -> Suspended:
    return Suspended("The workflow is suspended; let this signal pass (it is no error).")


def _bug(error: Exception) -> PerdureError:
    return InternalError(f"A bug of perdure: {type(error).__name__}: {error}")
