"""The contract of a state backend as pytest tests. Subclass it for a backend of your own.

    class TestMyBackend(BackendContract):
        def make_backend(self, now, folder):
            return MyBackend(folder / "db", now=now)

Every sentence of `perdure.backends.base` has its test here, and every one of
`perdure.backends.server` in `ServerContract`. The tests never sleep and need no plugin but pytest
itself. `perdure.testing.contract.lockstep` (needs Hypothesis) adds a state machine that compares a
backend with the memory backend, step by step.
"""

from __future__ import annotations

from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.claiming import (
    ClaimContract,
    LeaseContract,
    NextDueContract,
    ResumeContract,
)
from perdure.testing.contract.committing import (
    BatchContract,
    CommitContract,
    DataContract,
    DispositionContract,
    FenceContract,
)
from perdure.testing.contract.ending import DeadlineContract
from perdure.testing.contract.querying import HealthContract, QueryContract
from perdure.testing.contract.queueing import QueueContract
from perdure.testing.contract.racing import RaceContract
from perdure.testing.contract.registering import RegisterContract
from perdure.testing.contract.seizing import SeizeContract
from perdure.testing.contract.sending import SendContract
from perdure.testing.contract.serving import ServerContract
from perdure.testing.contract.starting import StartContract
from perdure.testing.contract.waiting import InboxContract, SuspendContract, WatchContract
from perdure.testing.contract.world import Clock, World

__all__ = ["BackendContract", "Clock", "ContractCase", "ServerContract", "World"]


class BackendContract(
    StartContract,
    ClaimContract,
    NextDueContract,
    LeaseContract,
    ResumeContract,
    QueueContract,
    CommitContract,
    FenceContract,
    BatchContract,
    DispositionContract,
    DataContract,
    WatchContract,
    InboxContract,
    SeizeContract,
    DeadlineContract,
    SendContract,
    SuspendContract,
    RegisterContract,
    QueryContract,
    HealthContract,
    RaceContract,
):
    """The whole contract; override `make_backend`."""
