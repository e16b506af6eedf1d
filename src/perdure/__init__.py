"""perdure: durable workflows in plain Python.

A workflow is a plain function. After a crash it is run again: every recorded operation gives what
it gave before, nothing recorded runs twice, and it goes on.
"""

from __future__ import annotations

from perdure import wf
from perdure._version import __version__
from perdure.api.arguments import Arguments
from perdure.api.definition import Call
from perdure.api.executor import DeterministicExecutor
from perdure.api.info import InvocationInfo
from perdure.api.invocation import DistributedInvocation
from perdure.app import Perdure
from perdure.core.identity import WorkflowIdentity
from perdure.core.lifecycle import InvocationState
from perdure.core.retry import Retry
from perdure.errors import PerdureError

__all__ = [
    "Arguments",
    "Call",
    "DeterministicExecutor",
    "DistributedInvocation",
    "InvocationInfo",
    "InvocationState",
    "Perdure",
    "PerdureError",
    "Retry",
    "WorkflowIdentity",
    "__version__",
    "wf",
]
