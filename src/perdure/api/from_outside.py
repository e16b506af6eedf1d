"""What an app does from anywhere to work that waits for it: ends open tasks, emits to topics."""

from __future__ import annotations

from perdure.api import completing, topics
from perdure.api.client import Client
from perdure.engine.effects import Emitted


class FromOutside:
    """That part of an app."""

    client: Client

    def complete(self, token: str, value: object = None) -> None:
        """End a task that was left open (`completes_outside=True`) with its result, from anywhere.

        Durable when it returns; whoever waits for the task goes on. The first outcome stays.

        Args:
            token: what `wf.completion_token()` gave in its body.
            value: the result; it must fit the result type of the task where its code is registered
                in this process. Where it is not, give plain data, or what it is annotated with.

        Raises:
            InvalidToken: it belongs to no task of this app.
            AlreadyCompleted: it has a result or failure already; its `same` tells a mere repeat.
            InvocationEnded: it was cancelled or terminated.
            SerializationError: the value cannot be recorded; the task is still open.
            OperationRefused: in a workflow; do it in a task.
            CommitUnknown: it may be completed; doing it again is safe.
        """
        completing.complete(self.client, token, value)

    def fail(self, token: str, error: Exception) -> None:
        """End a task that was left open with a failure, for good: it is not retried.

        As `complete`; who waits for the task gets `error` raised (as `TaskError`, unless its class
        is registered).

        Raises:
            ConfigurationError: `error` is no exception.
        """
        completing.fail(self.client, token, error)

    def emit(
        self,
        topic: str,
        value: object = None,
        id: str = "",
        *,
        once: bool = False,
    ) -> Emitted:
        """Emit a value to a topic, for any number of workflows that listen to it.

        It is one transaction: when this returns it is durable, has its number in the order of the
        topic for ever, and whoever waits for it goes on. Nobody need listen yet. In a workflow it
        is a recorded operation; in a task, a retry emits the same again, which is one emit.

        Args:
            topic: what workflows listen to it by: `wf.receive_topic`, `wf.listen`.
            value: plain data, or an instance of a dataclass, msgspec Struct or pydantic model.
            id: emitted again with this id, it is the emit that it was. Default: a fresh one.
            once: only if nothing was emitted to the topic before; the result tells whether it was.

        Raises:
            SerializationError: the value cannot be recorded.
            CommitUnknown: it may be emitted; doing it again is safe with an id of yours.
        """
        return topics.emit(self.client, topic, value, id, once=once)
