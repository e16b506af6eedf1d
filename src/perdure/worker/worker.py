"""A worker: claims what it can run and gives it to a pool. One per app.

It makes no decision about a workflow; it finds work, finds it a thread, and looks away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    Suspend,
)
from perdure.backends.limits import NO_LIMITS, QueueLimits
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.attempt import Attempt
from perdure.engine.effects import Function
from perdure.engine.ledger import settle
from perdure.engine.pool import Pool
from perdure.engine.runtime import Runtime, logger
from perdure.engine.sync_attempt import SyncAttempt
from perdure.engine.task_attempt import TaskAttempt
from perdure.errors import (
    BackendError,
    CommitUnknown,
    InternalError,
    LeaseLost,
    PerdureError,
    SchemaMismatch,
)
from perdure.worker.gathering import Gathering
from perdure.worker.renewing import Renewing
from perdure.worker.starting import ClaimingStarts, fits_start
from perdure.worker.upkeep import Upkeep

POLL_SECONDS = 0.25
"""How often a worker looks for work that other processes made ready."""
LOOK_AGAIN_SECONDS = 0.005
"""After a claim that took all there was: what was taken begins meanwhile, not beside a look."""
RUNNING_MAX = 10_000
"""Rows that are looked at to find what an open claim took."""
PUT_OFF = 250_000
"""Microseconds that an invocation on its last chance waits for another one on its own."""
ALONE_SECONDS = 30.0
"""How long nothing else is claimed beside one on its last chance; most crashes come sooner."""
FAILURES_MAX = 3
"""Failed claims in a row after which a local worker stops and tells who waits."""
BACKOFF_MAX_SECONDS = 10.0
"""The longest pause of a standing worker between two tries to claim."""


def make_attempt(
    runtime: Runtime, record: InvocationRecord, function: Function
) -> Attempt | TaskAttempt:
    """The attempt that fits a claimed record."""
    if record.kind == "task":
        return TaskAttempt(runtime, record, function)
    if function.is_async:
        from perdure.engine.async_attempt import AsyncAttempt  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        return AsyncAttempt(runtime, record, function)
    return SyncAttempt(runtime, record, function)


def _holding_of(record: InvocationRecord) -> Holding:
    return Holding(record.key, record.epoch)


def _fits(record: InvocationRecord, request: ClaimRequest) -> bool:
    """Whether such a claim may have taken it."""
    in_tree = request.roots is None or record.root in request.roots
    served = request.queues is None or record.queue in request.queues
    return in_tree and served and record.name in request.names


class Serving(NamedTuple):
    """Which queues a worker serves.

    Attributes:
        limits: gives the limits by queue, as this process declares them.
        queues: their names; None for all.
    """

    limits: Callable[[], Mapping[str, QueueLimits]]
    queues: frozenset[str] | None = None

    def takes(self, queue: str) -> bool:
        """Whether it serves this queue."""
        return self.queues is None or queue in self.queues

    def is_limited(self, queue: str, limit_key: str) -> bool:
        """Whether rows of this queue and key may be kept back."""
        return bool(limit_key) or self.limits().get(queue, NO_LIMITS).bounds_all


class Worker:
    """Runs claimed invocations on a bounded pool of threads until it is stopped.

    Args:
        functions: what this process can run, by registered name; may grow while it runs.
        roots: gives the trees to run now; None for all.
        concurrency: attempts at a time. A waiting workflow is none of them.
        failed: told when the state backend fails a claim again and again (the worker has stopped
            then; the tree is None) or fails an attempt (of that tree).
        gives_up: whether it stops when claims fail again and again; else it goes on trying.
        serves: the queues that it serves, and their limits.

    Attributes:
        alive: False when it has stopped by itself; make another one.
    """

    def __init__(
        self,
        runtime: Runtime,
        functions: Mapping[str, Function],
        *,
        roots: Callable[[], frozenset[InvocationKey]] | None,
        concurrency: int,
        failed: Callable[[PerdureError, InvocationKey | None], None],
        gives_up: bool = True,
        serves: Serving,
    ) -> None:
        """Prepare; nothing runs yet."""
        self._gives_up = gives_up
        self._serves = serves
        self._runtime = runtime
        self._functions = functions
        self._roots = roots
        self._concurrency = concurrency
        self._failed = failed
        self._pool = Pool(runtime.env, "perdure-run", concurrency)
        self._wake = runtime.env.signal()
        self._idle = runtime.env.signal()
        self._idle.set()
        self._dispatched = runtime.env.signal()
        self._lock = threading.Lock()
        self._running = 0
        self._last_chance: Holding | None = None
        self._alone_until = 0.0
        self._upkeep = Upkeep(runtime)
        self._renewing = Renewing(runtime)
        self._failures = 0
        self._gathering = Gathering(concurrency)
        self._unreleased: deque[Attempt | TaskAttempt] = deque()
        self._open_claims = 0
        self._open_claims_seen = 0
        self._behind = True
        self._starts = ClaimingStarts(runtime, self)
        self.alive = True

    def start(self) -> None:
        """Start the dispatcher and the renewal thread."""
        self._runtime.hub.add_worker(self._wake.set)
        self._runtime.starters.append(self._starts)
        self._runtime.env.spawn("perdure-dispatch", self._dispatch)
        self._renewing.start(self._has_ended)

    def poke(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """After `stopping` was set: wait until no attempt runs; False if the time was up."""
        env = self._runtime.env
        deadline = env.monotonic() + timeout
        self._wake.set()
        # A claim that is under way may still bring attempts; without this they would be missed.
        ended = self._dispatched.wait(timeout)
        self._renewing.look()
        with self._lock:
            pass  # a start that saw no stop before has its slot by now, and is waited for
        ended = self._idle.wait(max(0.0, deadline - env.monotonic())) and ended
        self._pool.close()
        return ended

    def _has_ended(self) -> bool:
        return (self._runtime.stopping.is_set() or not self.alive) and self._idle.is_set()

    # --- claiming -------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        told: PerdureError | None = None
        try:
            self._runtime.hearing.begin()
            self._dispatch_until_stopped()
        except BackendError as error:
            told = error
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, or waits for ever
            logger.exception("the dispatcher met a bug of perdure")
            told = (
                error
                if isinstance(error, PerdureError)
                else InternalError(f"A bug of perdure: {type(error).__name__}: {error}")
            )
        finally:
            with self._lock:
                self.alive = False
            self._dispatched.set()
            self._runtime.starters.remove(self._starts)
            self._runtime.hub.remove_worker(self._wake.set)
        if told is not None:
            self._failed(told, None)

    def _dispatch_until_stopped(self) -> None:
        """Claim and run. What makes it give up is raised."""
        stopping = self._runtime.stopping
        while not stopping.is_set():
            with self._lock:
                self._behind = True
            self._wake.clear()
            try:
                pause = self._claim_and_run()
                self._failures = 0
            except Exception as error:
                known = isinstance(error, BackendError)
                # A program that is too old for its database stays so: somebody must replace it.
                if isinstance(error, SchemaMismatch) or (self._gives_up and not known):
                    raise
                self._failures += 1
                # Every doubling is told, so that an outage of hours is a handful of lines.
                if self._failures & (self._failures - 1) == 0:
                    text = "claim failed (%d in a row): %s"
                    logger.warning(text, self._failures, error, exc_info=not known)
                if self._gives_up and self._failures >= FAILURES_MAX:
                    raise
                again = isinstance(error, CommitUnknown) and self._failures == 1
                pause = 0.0 if again else self._backoff()
            self._wake.wait(pause)

    def _backoff(self) -> float:
        """Seconds until the next try; jittered, so that a fleet does not come back at once."""
        longest = min(BACKOFF_MAX_SECONDS, POLL_SECONDS * 2.0 ** min(self._failures - 1, 10))
        return longest * (0.5 + int.from_bytes(self._runtime.env.entropy(2)) / 2**17)

    def _claim_and_run(self) -> float:
        """Claim as much as there are free slots; gives how long to wait before the next look."""
        runtime = self._runtime
        self._upkeep.end_late()
        for _ in range(len(self._unreleased)):
            attempt = self._unreleased.popleft()
            if not attempt.give_back():
                self._unreleased.append(attempt)
        free = self._concurrency - self._running
        roots = None if self._roots is None else self._roots()
        alone = self._last_chance is not None and runtime.env.monotonic() < self._alone_until
        if free <= 0 or alone or not self._functions:
            return POLL_SECONDS
        if roots is not None and not roots:
            self._behind = False
            return POLL_SECONDS
        began = runtime.env.monotonic()
        if (pause := self._gathering.pause(free, began)) > 0.0:
            return pause
        batch = self._claim(
            ClaimRequest(
                app=runtime.app_name,
                owner=runtime.claimer,
                names=frozenset(self._functions),
                roots=roots,
                queues=self._serves.queues,
                limits=self._serves.limits(),
                limit=free,
                lease=int(runtime.settings.lease * 1e6),
                dead_owners=self._upkeep.gone_owners(began),
            )
        )
        self._gathering.claimed(free, len(batch.records), began, runtime.env.monotonic())
        if batch.records:
            self._run_all(batch)
            return 0.0 if self._behind else LOOK_AGAIN_SECONDS
        if batch.next_due is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, (batch.next_due - batch.now) / 1e6))

    def _claim(self, request: ClaimRequest) -> ClaimBatch:
        """Claim, and note the leases. Before that, whatever an earlier claim took unseen.

        Raises:
            CommitUnknown: it took nothing that could be found, or the store cannot be asked.
            BackendError: it took nothing, or nobody can tell yet what an earlier one took.
        """
        runtime = self._runtime
        with runtime.leases.claiming:
            if self._open_claims != self._open_claims_seen:
                found = self._take_unseen(request)
                if found.records:
                    return found
            asked_at = runtime.env.monotonic()
            try:
                batch = runtime.backend.claim(request)
            except CommitUnknown as error:
                self.look_for_unseen()
                batch = self._take_unseen(request)
                if not batch.records:
                    raise
                logger.warning("claim left open, its rows were found: %s", error)
            else:
                self._note_leases(batch, asked_at)
                self._behind = len(batch.records) >= request.limit
            return batch

    def _take_unseen(self, request: ClaimRequest) -> ClaimBatch:
        """What a claim like this with an open outcome took: rows that no attempt here had or has.

        Without this look they would lie until their lease is over. While the store cannot answer
        it is still to be made, before anything else is claimed. If the claim should happen later
        than the look, its rows do lie.
        """
        runtime, open_claims = self._runtime, self._open_claims
        asked_at = runtime.env.monotonic()
        now = runtime.backend.now()
        running = InvocationQuery(
            app=runtime.app_name, states=(InvocationState.RUNNING,), limit=RUNNING_MAX
        )
        # Before the look, which shows what ends during it as running.
        known = runtime.leases.known()
        rows = runtime.backend.query(running)
        taken = (row for row in rows if row.owner == runtime.claimer and _fits(row, request))
        batch = ClaimBatch(tuple(row for row in taken if _holding_of(row) not in known), now, None)
        self._open_claims_seen = open_claims
        self._note_leases(batch, asked_at)
        return batch

    def _note_leases(self, batch: ClaimBatch, asked_at: float) -> None:
        """Count on what is left of these leases.

        Args:
            asked_at: the monotonic time just before the store said `batch.now`.
        """
        runtime = self._runtime
        for record in batch.records:
            # Of several servers each has a clock; `batch.now` is that of one of them.
            now = batch.now if runtime.spread is None else runtime.now(record.key)
            left = ((record.lease_until or now) - now) / 1e6
            runtime.leases.add(record.key, record.epoch, asked_at, left)

    def _run_all(self, batch: ClaimBatch) -> None:
        """Run what was claimed; of those that the next crash would end, one, and alone.

        What is claimed together crashes together. Without this, one task that kills its process
        would take those beside it with it, crash by crash, until all of them are dead. So the
        others are given back before the one starts, and nothing more is claimed while it runs.
        """
        kept: list[InvocationRecord] = []
        last = self._runtime.settings.crash_limit - 1
        for record in batch.records:
            if record.crashes == last > 0:
                if self._last_chance is not None:
                    self._put_off(record)
                    continue
                self._last_chance = _holding_of(record)
                self._alone_until = self._runtime.env.monotonic() + ALONE_SECONDS
            kept.append(record)
        failure: RuntimeError | None = None
        for record in kept:
            try:
                self._run(record)
            except RuntimeError as error:  # no thread can be started now; the others are tried
                failure = error
        if failure is not None:
            raise failure

    def _put_off(self, record: InvocationRecord) -> None:
        """Give it back for a moment, its crashes uncounted. If that fails, its lease runs out."""
        try:
            due = self._runtime.now(record.key) + PUT_OFF
            settle(self._runtime, record, None, Suspend(due))
        except (LeaseLost, BackendError) as error:
            logger.info("%s could not be put off: %s", record.key, error)
        finally:
            self._runtime.leases.remove(record.key, record.epoch)

    def _run(self, record: InvocationRecord, decided: threading.Lock | None = None) -> None:
        """Run it on the pool. Who takes `decided` before its turn comes keeps it from running."""
        if decided is None:
            with self._lock:
                self._running += 1
                self._idle.clear()
        attempt = make_attempt(self._runtime, record, self._functions[record.name])

        def job() -> None:
            if decided is not None and not decided.acquire(blocking=False):
                return
            try:
                attempt.run()
                if isinstance(attempt.error, BackendError):
                    self._unreleased.append(attempt)
                    self._failed(attempt.error, record.root)
            except Exception:  # noqa: BLE001 - one attempt never takes the worker down
                logger.exception("attempt of %s failed inside perdure; please report", record.key)
            finally:
                self._done(record, attempt.resumes_in)

        try:
            self._pool.submit(job)
        except RuntimeError:
            # Nobody will run it here, so its lease must not be renewed.
            self._unreleased.append(attempt)
            self._forget(record)
            raise

    def _done(self, record: InvocationRecord, resumes_in: float | None) -> None:
        """Look again, if there is something for the slot: what the last look left, or a queue's.

        Also for what goes on sooner than the next look would find it: a look tells when that is.
        """
        self._forget(record)
        if (
            self._behind
            or (resumes_in is not None and resumes_in < POLL_SECONDS)
            or self._unreleased
            or self._serves.is_limited(record.queue, record.limit_key)
        ):
            self._wake.set()

    # --- what is started beside it (perdure.worker.starting) -------------------------------------

    def reserve(self, new: NewInvocation) -> bool:
        """See `Slots.reserve`."""
        roots = None if self._roots is None else self._roots()
        served = self._serves.takes(new.queue)
        if not (new.name in self._functions and served and fits_start(new, roots)):
            return False
        if self._serves.is_limited(new.queue, new.limit_key):
            return False
        with self._lock:
            if not self.has_room:
                return False
            self._running += 1
            self._idle.clear()
            return True

    @property
    def has_room(self) -> bool:
        """See `Slots.has_room`. Nothing comes first once a look took all and nobody poked since."""
        return not (
            self._behind
            or self._wake.is_set()
            or self._running >= self._concurrency
            or self._last_chance is not None
            or self._runtime.stopping.is_set()
            or not self.alive
        )

    def give_up_slot(self) -> None:
        """See `Slots.give_up_slot`."""
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._idle.set()
        self._wake.set()

    def run_reserved(self, record: InvocationRecord, decided: threading.Lock) -> None:
        """See `Slots.run_reserved`."""
        try:
            self._run(record, decided)
        except RuntimeError as error:
            logger.warning("%s was started and cannot run here: %s", record.key, error)
            self._wake.set()

    def look_for_unseen(self) -> None:
        """See `Slots.look_for_unseen`."""
        with self._lock:
            self._open_claims += 1
        self._wake.set()

    def _forget(self, record: InvocationRecord) -> None:
        self._runtime.leases.remove(record.key, record.epoch)
        with self._lock:
            self._running -= 1
            if self._last_chance == _holding_of(record):
                self._last_chance = None
            if self._running == 0:
                self._idle.set()
