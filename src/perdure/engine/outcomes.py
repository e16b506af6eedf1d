"""Commits what task bodies gave, through outages of the state backend that a lease outlasts.

A body has had its effect by then. Were its outcome dropped at the first failure, each restart of a
database would run again whatever was in flight, although nothing had crashed.
"""

from __future__ import annotations

from perdure.backends.base import CommitResult, Holding, Transition
from perdure.engine.runtime import Runtime, logger
from perdure.errors import BackendError, SchemaMismatch

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two tries; each pause is twice as long as the one before."""


def commit_outcome(runtime: Runtime, transition: Transition) -> CommitResult:
    """Commit, and try again while the lease is confirmed, at most for as long as one lease lasts.

    (Where renewals go through and this does not, no time would ever be enough.)

    Raises:
        BackendError: as the last try did.
    """
    try:
        return runtime.committer.submit(transition)
    except SchemaMismatch:
        raise  # this program is too old for the database, and no time would change that
    except BackendError as error:
        key = transition.key
        logger.warning("an outcome of %s cannot be recorded, trying again: %s", key, error)
        return _try_again(runtime, transition, error)


def _try_again(runtime: Runtime, transition: Transition, error: BackendError) -> CommitResult:
    env, pause = runtime.env, FIRST_PAUSE
    holding = Holding(transition.key, transition.epoch)
    until = env.monotonic() + runtime.settings.lease
    while env.monotonic() < until and runtime.leases.is_live(holding):
        env.signal().wait(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)
        try:
            return runtime.committer.submit_again(transition)
        except BackendError as again:
            error = again
    raise error
