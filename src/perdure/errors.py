"""Every exception of perdure. The bottom of the import graph: it imports nothing of ours.

Two families, and the difference is a promise:

* `PerdureError` and its children are for callers: catch them, read them, fix what they name. Each
  has a stable `code` that documentation and log searches can rely on.
* `ControlFlow` and its children derive from `BaseException`, so that `except Exception` in a
  workflow can neither swallow a suspension nor a lost lease. Nobody catches those.
"""

from __future__ import annotations

from typing import ClassVar


class PerdureError(Exception):
    """Root of every error that perdure raises for a caller."""

    code: ClassVar[str] = "PRD000"


# --- configuration and registration ------------------------------------------------------------


class ConfigurationError(PerdureError):
    """A setting, URL or decorator argument cannot be used; the message names it and the remedy."""

    code = "PRD001"


class RegistrationError(PerdureError):
    """A function cannot be registered: not callable, a duplicate name, or an unusable signature."""

    code = "PRD002"


class UnknownName(PerdureError, KeyError):
    """No task, workflow, query or schedule of this name is registered in this process."""

    code = "PRD003"
    __str__ = Exception.__str__  # that of KeyError is the repr


class InvalidIdentifier(PerdureError):
    """An id, name or key is empty, longer than 255 characters, or holds control characters."""

    code = "PRD004"


class WrongColour(PerdureError):
    """A sync function was called where async code must await it, or the other way round."""

    code = "PRD005"


# --- values -------------------------------------------------------------------------------------


class SerializationError(PerdureError):
    """A value cannot be recorded. Raised when it would be recorded, never later on replay."""

    code = "PRD010"


class ValueTooLarge(SerializationError):
    """A value is over a size, depth or count limit. Nothing of it was recorded."""

    code = "PRD011"


class DeserializationError(PerdureError):
    """Recorded bytes cannot be turned back into a value (damaged, or their type changed)."""

    code = "PRD012"


class TaskError(PerdureError):
    """Stands for an exception whose class is not registered with the app.

    The class is never imported or rebuilt from a name found in a database. Register it with
    `app.register(TheError)` or `@app.task(raises=[TheError])` to get it back as itself.
    """

    code = "PRD013"

    def __init__(self, type_name: str, message: str, traceback_text: str = "") -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class TaskTimeout(PerdureError, TimeoutError):
    """A task attempt did not return within its `timeout` (seconds). It may still be running."""

    code = "PRD014"


class HeartbeatTimeout(TaskTimeout):
    """A task body gave no sign of life for longer than its `heartbeat_timeout` (seconds).

    As after any `TaskTimeout`, it may still be running; its next `wf.heartbeat` ends it.
    """

    code = "PRD070"


class ExecutorUnavailable(PerdureError):
    """A task body could not be run by the executor of its task, and did not run.

    Nothing is lost and no attempt is counted: whoever waits for the result is told, and the body is
    tried again some seconds later by a worker that can.
    """

    code = "PRD015"


class BodyDied(PerdureError):
    """The process of a task body ended under it. It counts as a crash, not as a failed attempt."""

    code = "PRD016"


class OutcomeUnknown(PerdureError):
    """The body of an at-most-once task may have run, and what came of it is not known.

    It will not run again. Whether its effect happened only the outside can tell: ask there, and
    decide; or give the task an `on_uncertain=` that does.
    """

    code = "PRD017"


class DatabaseUnavailable(ExecutorUnavailable):
    """The database of a transaction cannot be reached, or does not say what became of a commit.

    Nothing is lost and no attempt is counted: some seconds later it is asked again, and the body
    runs again only if its transaction is not there.
    """

    code = "PRD018"


# --- invocations --------------------------------------------------------------------------------


class InvocationNotFound(PerdureError):
    """No invocation of this id is in the state backend."""

    code = "PRD020"


class StartConflict(PerdureError):
    """This id was started before with another workflow or other input. Nothing was started."""

    code = "PRD021"


class Superseded(PerdureError):
    """The handle is bound to a generation of this id that is no longer the latest."""

    code = "PRD022"


class InvocationParked(PerdureError):
    """The workflow stopped at something that only a person can decide; its journal is untouched.

    It is not failed: after the cause is mended, `perdure workflow resume ID` lets it go on.
    """

    code = "PRD023"


class InvocationDead(PerdureError):
    """The invocation crashed its process too often and is no longer claimed.

    It is not failed: `perdure workflow resume ID` gives it another set of chances.
    """

    code = "PRD024"


class ResultTimeout(PerdureError, TimeoutError):
    """`result(timeout)` or a stream gave up waiting. The invocation goes on."""

    code = "PRD025"


class InvocationCancelled(PerdureError):
    """The invocation ended as cancelled or terminated, so it has no result."""

    code = "PRD026"


class DeadlineReached(InvocationCancelled):
    """The workflow did not end by its own deadline, and so was cancelled: it has no result."""

    code = "PRD053"


class InvocationEnded(PerdureError):
    """Something was sent to an invocation that has ended; nobody would read it."""

    code = "PRD027"


class MessageInvalid(PerdureError):
    """A message does not fit the type that its receiver asks for."""

    code = "PRD028"


class ReceiveTimeout(PerdureError, TimeoutError):
    """No message came in time."""

    code = "PRD029"


class AlreadyCompleted(InvocationEnded):
    """A task was completed from outside, and it had an outcome already, which stays.

    Attributes:
        state: "completed" or "failed": how it ended first.
        finished_at: when, in microseconds since 1970 UTC.
        same: whether it is the outcome that was given now, as when a webhook is repeated.
    """

    code = "PRD060"

    def __init__(
        self, message: str, state: str = "", finished_at: int = 0, *, same: bool = False
    ) -> None:
        super().__init__(message)
        self.state = state
        self.finished_at = finished_at
        self.same = same


class InvalidToken(PerdureError):
    """A completion token was made by nobody, for something else, or is not whole."""

    code = "PRD061"


class UpdateUnanswered(PerdureError):
    """The workflow ended, or had ended, without answering an update that it had accepted."""

    code = "PRD050"


class UpdateTimeout(PerdureError, TimeoutError):
    """An update was not answered in time. It stays accepted: ask again with the same id."""

    code = "PRD051"


class NotPublished(PerdureError, KeyError):
    """The workflow has published no data of this name with `wf.set_data`."""

    code = "PRD054"
    __str__ = Exception.__str__  # that of KeyError is the repr


class UpdateAnswered(PerdureError):
    """An update was to be answered a second time. The first answer holds."""

    code = "PRD052"


# --- replay and context -------------------------------------------------------------------------


class DeadlineExceeded(PerdureError, TimeoutError):
    """A block of a workflow took longer than its `wf.timeout` allows."""

    code = "PRD039"


class Divergence(PerdureError):
    """Replay asked for another operation than the journal holds. The journal is untouched."""

    code = "PRD030"


class NotInWorkflow(PerdureError):
    """A workflow operation was called outside of any workflow or task."""

    code = "PRD031"


class ForeignScope(PerdureError):
    """An operation came from a thread, asyncio task or process that does not own the scope."""

    code = "PRD032"


class OperationRefused(PerdureError):
    """This operation is not allowed here (inside `record`, in a task, on a generator)."""

    code = "PRD033"


class LeaseRequired(PerdureError):
    """A new value was asked of an identity whose workflow only its lease holder may extend."""

    code = "PRD034"


class SuspensionSwallowed(PerdureError):
    """Workflow code caught the suspension signal and kept calling operations; it was parked."""

    code = "PRD035"


class WorkflowStuck(PerdureError):
    """An async workflow waits for something that nothing can bring; it was parked."""

    code = "PRD036"


class WaitCycle(PerdureError):
    """A workflow waited for the end of one that, through others or itself, waits for its end."""

    code = "PRD037"


# --- state backend ------------------------------------------------------------------------------


class BackendError(PerdureError):
    """The state backend could not do what was asked; nothing was half done."""

    code = "PRD040"


class BackendUnavailable(BackendError):
    """The state backend cannot be reached, opened or written (read-only, permissions, locked)."""

    code = "PRD041"


class BackendFull(BackendError):
    """No space is left for the state backend. Nothing was recorded; free space and go on."""

    code = "PRD042"


class SchemaMismatch(BackendError):
    """The database holds a schema that this version of perdure must not read or write."""

    code = "PRD043"


class ForeignDatabase(BackendError):
    """The file is not a perdure database, or it is damaged beyond opening."""

    code = "PRD044"


class JournalCorrupted(PerdureError):
    """A journal entry does not match its checksum. Its value is never used."""

    code = "PRD045"


class CommitUnknown(BackendError):
    """A commit was interrupted and may or may not have happened; the caller must read back."""

    code = "PRD046"


class RegisterConflict(BackendError):
    """A deterministic value is stored already under this key, and it is not the same."""

    code = "PRD047"


class ServerListMismatch(BackendError):
    """The list of servers is older than, or contradicts, the one that the servers know."""

    code = "PRD048"


class InternalError(PerdureError):
    """A rule of perdure itself was broken. This is our bug; please report it with the message."""

    code = "PRD099"


# --- control flow -------------------------------------------------------------------------------


class ControlFlow(BaseException):
    """Root of the signals that unwind a workflow. Not an error, not for callers."""


class Cancelled(BaseException):
    """Somebody cancelled this sync workflow. Clean up and let it pass; operations still work.

    It comes once, out of the operation that waits or the next task call. No `except Exception`
    catches it. In an async workflow it is `asyncio.CancelledError`.
    """


class DeadlinePassed(Cancelled):
    """This sync workflow is past its own deadline, so it is cancelled. As `Cancelled` otherwise.

    Attributes:
        deadline: microseconds since 1970 UTC, as `wf.deadline()`.
    """

    def __init__(self, message: str = "", deadline: int = 0) -> None:
        super().__init__(message)
        self.deadline = deadline


class AttemptLost(BaseException):
    """Raised by `wf.heartbeat` in a task body: this attempt counts no more. Stop, let it pass.

    It was cancelled, its time was over, or its lease was lost. Whatever it gives is dropped. No
    `except Exception` catches it.
    """


class Suspended(ControlFlow):
    """The workflow waits for something durable, so its frame is dropped and will be replayed.

    If you see this in a traceback, workflow code caught `BaseException`: re-raise it. Whatever
    leaves the function after this signal is discarded, and operations are refused.
    """


class LeaseLost(ControlFlow):
    """Another worker owns this invocation now. Nothing more can be recorded by this attempt."""
