"""What an app offers for transactions: `app.database(...)` and `@app.transaction(...)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from perdure.api.checks import policy, several
from perdure.api.decorators import Decorators
from perdure.api.definition import (
    Policy,
    default_name,
    is_async_function,
    refuse_unusable,
    unwrap_static,
)
from perdure.api.functions import AsyncTask, Registered, SyncTask
from perdure.api.queues import Key, Queue, queue_name
from perdure.core.identity import validate_identifier
from perdure.core.retry import NO_RETRY, Retry
from perdure.engine.runtime import Runtime
from perdure.errors import ConfigurationError, RegistrationError
from perdure.transactions.around import InTransaction
from perdure.transactions.database import Database, Source
from perdure.transactions.outbox import Outbox
from perdure.transactions.registering import (
    TransactionDecorator,
    TransactionDefinition,
    without_first,
)
from perdure.transactions.relay import Relay


class Transactions(Decorators):
    """The databases of users and the tasks that run in them, as a part of an app."""

    databases: list[Database]
    relayed: list[Database]
    _relays: list[Relay]

    @property
    def runtime(self) -> Runtime:
        """The engine of this process."""
        raise NotImplementedError

    def database(self, source: Source = None) -> Database:
        """A database of yours, for `@app.transaction(database)`. Nothing is opened yet.

        At the first use it gets two tables, `perdure_outcomes` and `perdure_outbox`. If this user
        must not make tables, let another one call `prepare()`.

        Args:
            source: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`,
                `postgresql://user@host/database` (sync and async functions); or a function without
                arguments that gives a new connection of sqlite3 or psycopg, or the coroutine of
                `psycopg.AsyncConnection.connect(...)`; or an engine of SQLAlchemy (2.0 or newer,
                on SQLite or PostgreSQL), an `AsyncEngine` for async functions. Default: the
                database of the state backend.
                On a SQLite state file nothing else is written while such a transaction is open,
                so it must be short.

        Raises:
            ConfigurationError: it cannot be used.
        """
        made = Database(source, self.client, lambda: self.runtime)
        self.databases.append(made)
        return made

    def outbox(self, tx: object) -> Outbox:
        """Starts and messages that go with a transaction: `app.outbox(tx).start(order, "42")`.

        They are written into the transaction, and carried after its commit by the relay (see
        `relay`): once, in the order in which they were written, and never after a rollback.

        Args:
            tx: the connection: of `database.transaction()`, of a transaction task, or one of yours
                (sqlite3, psycopg; also a session of SQLAlchemy).
        """
        return Outbox(self.client, tx)

    def relay(self, database: Database) -> None:
        """Let the workers of this app carry the outbox of a database. Call it before they start.

        Raises:
            ConfigurationError: it is no `app.database(...)`.
        """
        if not isinstance(database, cast("type", Database)):
            raise ConfigurationError(
                f"app.relay({database!r}): expected a database, as app.database(...) gives it."
            )
        if database not in self.relayed:
            self.relayed.append(database)

    def start_relay(self) -> None:
        """Carry the outboxes of `relay(...)` on a thread of this process, until `close()`.

        A worker does so, too, if there are any when it starts. Any number of processes may.
        """
        relay = Relay(self.runtime, self.relayed)
        self._relays.append(relay)
        relay.start()

    def transaction(
        self,
        database: Database,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        retry: Retry | None = None,
        queue: str | Queue | None = None,
        key: Key | None = None,
        raises: Iterable[type[BaseException]] = (),
    ) -> TransactionDecorator:
        """Register a task whose body runs in a transaction of `database`: exactly once.

        The function gets the transaction as its first parameter, in addition to what callers give:
        a `sqlite3.Connection`, or a connection of psycopg or SQLAlchemy. What it writes there is
        committed together with its result, or not at all; after a crash the result is found there
        and the body does not run again. A body that raises is rolled back, and tried again as
        `retry` says.
        After a conflict (a deadlock, a serialization failure, a database that is locked) it is run
        again at once, in a new transaction, with the same draws; that is no failed attempt.

        The body must not end the transaction, and can start or send nothing. Its other effects are
        as those of any task: they happen at least once.

        Outside of workflows, calling it runs the function in a transaction of its own.

        Args:
            database: from `app.database(...)`.
            name: registered name; default `module.qualname`.
            aliases: older names under which recorded work may still be found.
            retry: policy for failed attempts; default: none.
            queue: where it runs; as for `task`.
            key: calls with equal keys run one after the other; as for `task`.
            raises: exception classes to give back as themselves instead of as `TaskError`.

        Raises:
            RegistrationError: no parameter for the transaction, an async function on sqlite3, or
                what `task` refuses.
        """
        if not isinstance(database, cast("type", Database)):
            raise ConfigurationError(
                f"@app.transaction({database!r}): expected a database, such as "
                "orders = app.database('sqlite:///orders.db') and then @app.transaction(orders)."
            )

        def register(target: Callable[..., Any]) -> Any:
            if isinstance(target, Registered):
                raise RegistrationError(
                    f"{target!r} is registered already. Decorate the plain function, once."
                )
            plain = unwrap_static(target)
            refuse_unusable(plain)
            chosen = default_name(plain) if name is None else validate_identifier(name, "name")
            for alias in several(aliases, "aliases", '["its.older.name"]'):
                validate_identifier(alias, "alias")
            is_async = is_async_function(plain)
            database.refuse_colour(chosen, is_async=is_async)
            asked = Policy(retry=policy(retry) or NO_RETRY, queue=queue_name(queue), key=key)
            function = without_first(plain, database)
            definition = TransactionDefinition(
                function, kind="task", name=chosen, types=self._types, policy=asked
            )
            definition.around = InTransaction(definition, self._types, lambda: database.place)
            self.registry.add(definition, aliases)
            self.register(*several(raises, "raises", "[CardDeclined]"))
            kind = AsyncTask if is_async else SyncTask
            return cast("Any", kind)(definition, self.client)

        return cast("TransactionDecorator", register)
