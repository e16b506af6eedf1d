"""Starts and messages of a user's transaction: written by it, carried after its commit."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable
from typing import Any, ParamSpec, cast

import msgspec

from perdure.api.client import Client
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.sending import new_letter
from perdure.backends.base import NewInvocation
from perdure.backends.letters import Letter
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.engine.context import TaskContext, WorkflowContext, current
from perdure.errors import ConfigurationError, OperationRefused, PerdureError, WrongColour
from perdure.transactions.ports import Values, roots_of
from perdure.transactions.registering import inside
from perdure.transactions.statements import SQLITE, for_psycopg

P = ParamSpec("P")

START, SEND = "start", "send"
"""What a row asks for."""


class Message(msgspec.Struct, frozen=True):
    """A message as it lies in the outbox."""

    key: InvocationKey
    letter: Letter


class Outbox:
    """What `app.outbox(tx)` gives: starts and sends, with the commit of `tx` or not at all."""

    def __init__(self, client: Client, tx: object) -> None:
        self._client = client
        self._tx = tx

    def start(self, function: Registered[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Start a workflow or task when the transaction is committed; gives its id.

        Written into the transaction now; a relay starts it soon after the commit, once. With
        `function.options(id=...)` it has this id. A `delay` counts from then.

        Raises:
            OperationRefused: in a workflow, or outside of any transaction.
            SerializationError: an argument cannot be recorded; nothing was written.
            ConfigurationError: no connection that is known, or its database lacks our tables.
        """
        new = self._new(function, args, kwargs)
        self._now(_post(self._tx, self._values(START, new.invocation_id, new)))
        return new.invocation_id

    async def start_async(
        self, function: Registered[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """As `start`, on an async connection."""
        new = self._new(function, args, kwargs)
        await self._later(_post(self._tx, self._values(START, new.invocation_id, new)))
        return new.invocation_id

    def send(
        self,
        to: str | DistributedInvocation[Any],
        name: str,
        value: object,
        id: str = "",
    ) -> None:
        """Send a message when the transaction is committed; as `start`.

        Args:
            to: id or handle of a workflow. One that this outbox starts will be there.
            id: of the message, which its receiver accepts once. Default: a fresh one.
        """
        target, message = self._message(to, name, value, id)
        self._now(_post(self._tx, self._values(SEND, target, message)))

    async def send_async(
        self,
        to: str | DistributedInvocation[Any],
        name: str,
        value: object,
        id: str = "",
    ) -> None:
        """As `send`, on an async connection."""
        target, message = self._message(to, name, value, id)
        await self._later(_post(self._tx, self._values(SEND, target, message)))

    # --------------------------------------------------------------------------------------------

    def _new(
        self, function: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> NewInvocation:
        given: object = function
        if not isinstance(given, Registered):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(
                f"app.outbox(tx).start({given!r}): expected a workflow or a task, as the decorator "
                "gave it. By its name: app.named('its.name')."
            )
        context = self._context(f"The start of {function.name!r}")
        on_existing = function._options.on_existing  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - ours
        if on_existing != "return":
            raise ConfigurationError(
                f"on_existing={on_existing!r} is not available in an outbox: it may be "
                "carried twice, which must be the same as once. Leave it out."
            )
        new = function.new_outside(function.definition.call(args, kwargs))
        if new.invocation_id:
            return new
        made = self._client.fresh_id() if context is None else context.next_start_id()
        return msgspec.structs.replace(new, invocation_id=made)

    def _message(
        self, to: str | DistributedInvocation[Any], name: str, value: object, id_: str
    ) -> tuple[str, Message]:
        self._context(f"Message {name!r}")
        if not isinstance(to, (str, DistributedInvocation)):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(
                f"app.outbox(tx).send({to!r}, ...): expected the handle of a workflow, or its id."
            )
        # Generation 0 is any: what the id means is found out when it is carried.
        key = InvocationKey(validate_identifier(to, "id"), 0) if isinstance(to, str) else to.key
        return key.invocation_id, Message(key, new_letter(self._client, name, value, id_))

    def _context(self, what: str) -> TaskContext | None:
        """The task that this is done in, if any.

        Raises:
            OperationRefused: it is a workflow, or a pure task.
        """
        context = current()
        if isinstance(context, WorkflowContext):
            context.check()
            raise OperationRefused(
                f"{what} was asked of an outbox inside a workflow. A workflow starts and sends by "
                "itself; or do it in a transaction task, with its tx."
            )
        if context is not None and not inside.get():
            self._client.refuse_in_pure(context, what)
        return context

    def _values(self, kind: str, target: str, body: NewInvocation | Message) -> Values:
        return {
            "store": self._client.runtime.store_id.hex(),
            "app": self._client.runtime.app_name,
            "kind": kind,
            "target": target,
            "body": msgspec.msgpack.encode(body),
        }

    def _now(self, result: object) -> None:
        if inspect.iscoroutine(result):
            result.close()
            raise WrongColour(
                f"app.outbox(tx) with a {type(self._tx).__name__}: nothing was written. Write: "
                "await app.outbox(tx).start_async(...), or send_async."
            )

    async def _later(self, result: object) -> None:
        if not inspect.isawaitable(result):
            return
        try:
            await cast("Awaitable[object]", result)
        except Exception as error:
            raise _explained(error) from error


def _post(tx: Any, values: Values) -> object:
    """Write a row on a user's connection; a coroutine that does, if that is async.

    Raises:
        OperationRefused: it is in no transaction, so that the row would be committed at once.
        ConfigurationError: it is no connection that is known, or the table is not there.
    """
    try:
        return _statement(tx, values)
    except PerdureError:
        raise
    except Exception as error:
        raise _explained(error) from error


def _statement(tx: Any, values: Values) -> object:
    roots = roots_of(tx)
    if "sqlite3" in roots:
        refuse_autocommit(
            is_open=tx.in_transaction or tx.isolation_level is not None, what="isolation_level=None"
        )
        return tx.execute(SQLITE["post"], values)
    if "psycopg" in roots:
        is_idle = tx.info.transaction_status == sys.modules["psycopg"].pq.TransactionStatus.IDLE
        refuse_autocommit(is_open=not (tx.autocommit and is_idle), what="autocommit=True")
        return tx.execute(for_psycopg(SQLITE["post"]), values)
    if "sqlalchemy" in roots and hasattr(tx, "execute"):  # an engine has none
        from sqlalchemy import text  # noqa: PLC0415 - an extra, and it is there

        return tx.execute(text(SQLITE["post"]), dict(values))
    raise ConfigurationError(
        f"app.outbox({type(tx).__name__}): expected a connection of sqlite3 or psycopg, or a "
        "connection or session of SQLAlchemy, such as `with orders.transaction() as tx` gives."
    )


def refuse_autocommit(*, is_open: bool, what: str) -> None:
    """Whether a row would be part of a transaction.

    Raises:
        OperationRefused: it would not.
    """
    if not is_open:
        raise OperationRefused(
            f"app.outbox(tx) on a connection with {what} that is in no transaction: the row would "
            "be committed at once, whatever becomes of yours. Begin a transaction first."
        )


def _explained(error: Exception) -> Exception:
    """The error for somebody whose database has no outbox; any other one as it is."""
    if "perdure_outbox" not in str(error):
        return error
    return ConfigurationError(
        f"The outbox could not be written: {type(error).__name__}: {error}. If the tables are not "
        "there, call app.database(...).prepare() for this database once."
    )
