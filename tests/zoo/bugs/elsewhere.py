"""Bugs that a simulation cannot see: of real files, servers, processes, calendars. Tests find them.

Each names the test that does. `tests/zoo/plugin.py` plants it in the process of that test.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from tests.zoo import bug

Patch = pytest.MonkeyPatch
_SQLITE = "tests/backends/test_sqlite"


@bug(
    "C4",
    "An id that failed is given back as it is, instead of a new generation",
    test="tests/contract/test_contract.py::TestMemory"
    "::test_a_failed_id_gets_a_new_generation_when_asked",
)
def no_new_generation(patch: Patch) -> None:
    patch.setattr("perdure.backends.memory.RESTARTABLE", frozenset())


@bug(
    "D5",
    "Threads that workflow code starts are not known as foreign",
    test="tests/api/test_concurrency.py::test_a_thread_that_a_branch_starts_is_foreign",
)
def foreign_threads_pass(patch: Patch) -> None:
    patch.setattr("perdure.engine.context._mark_thread", lambda thread: None)


@bug(
    "D11",
    "Values have no limit",
    test="tests/values/test_damage.py::test_sizes_are_limited",
)
def values_have_no_limit(patch: Patch) -> None:
    patch.setattr("perdure.values.codec.check", lambda body, bytes_max: None)


@bug(
    "D12",
    "An entry of a newer version is passed over",
    test="tests/core/test_journal.py::test_an_entry_of_a_newer_kind",
)
def newer_entries_are_passed_over(patch: Patch) -> None:
    from perdure.core.journal import Journal

    index, known = Journal._index, {"draws", "memo", "end", "began", "unbegun", "attempt"}

    def lenient(self: Any, entry: Any) -> None:
        if entry.kind in known:
            index(self, entry)

    patch.setattr(Journal, "_index", lenient)


@bug(
    "F1",
    "A write begins as a read and becomes a write later",
    test=f"{_SQLITE}_schema.py::test_a_commit_is_two_statements_and_a_look_in_an_immediate_transaction",
)
def deferred_writes(patch: Patch) -> None:
    from perdure.backends.sqlite.writer import Writer

    def begin(self: Writer) -> sqlite3.Connection:
        self.lock.acquire(self._settings.timeout)
        connection = self.connection or self.open()
        self.clock.forget()
        connection.execute("BEGIN")
        return connection

    patch.setattr(Writer, "__enter__", begin)


@bug(
    "F2",
    "Renewals queue behind all other writers",
    test=f"{_SQLITE}_transactions.py::test_a_pending_renewal_goes_before_queued_ordinary_writers",
)
def renewals_queue(patch: Patch) -> None:
    from perdure.backends.sqlite.gate import Gate

    patch.setattr(Gate, "renewal", Gate.ordinary)


@bug(
    "F3",
    "SQLite versions that can corrupt the log are not known",
    test=f"{_SQLITE}_health.py::test_the_range_of_the_wal_reset_bug",
)
def bad_versions_pass(patch: Patch) -> None:
    patch.setattr("perdure.backends.sqlite.health.in_wal_reset_range", lambda version: False)


@bug(
    "F4",
    "A fork does not wait for the write in flight",
    test=f"{_SQLITE}_processes.py::test_a_fork_waits_for_the_write_in_flight",
)
def forks_do_not_wait(patch: Patch) -> None:
    from perdure.backends.sqlite.store import Store

    patch.setattr(Store, "before_fork", lambda self: setattr(self, "_inherited", True))
    patch.setattr(Store, "after_fork_in_parent", lambda self: None)


@bug(
    "F5",
    "Threads of one process do not wait for each other's writes",
    test=f"{_SQLITE}_transactions.py"
    "::test_a_writer_that_waits_too_long_for_a_thread_of_its_own_process",
)
def writers_do_not_wait(patch: Patch) -> None:
    from perdure.backends.sqlite.gate import Gate

    patch.setattr(Gate, "enter", lambda self, timeout: None)
    patch.setattr(Gate, "leave", lambda self: None)


@bug(
    "F6",
    "A commit that failed half way counts as one that did not happen",
    test=f"{_SQLITE}_transactions.py"
    "::test_a_commit_that_failed_in_the_middle_is_unknown_and_can_be_settled",
)
def half_commits_count_as_none(patch: Patch) -> None:
    from perdure.backends.sqlite import failures, writer

    patch.setattr(writer, "translate_commit", failures.translate)


@bug(
    "F7",
    "Commits do not wait for the disk",
    test=f"{_SQLITE}_files.py::test_settings_of_every_connection",
)
def commits_do_not_wait(patch: Patch) -> None:
    from perdure.backends.sqlite import connections

    made = connections.connect

    def fast(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = made(*args, **kwargs)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    patch.setattr("perdure.backends.sqlite.writer.connect", fast)


@bug(
    "F13",
    "A migration is not undone when it fails half way",
    test=f"{_SQLITE}_schema.py::test_a_migration_that_fails_leaves_the_old_schema",
)
def half_migrations_stay(patch: Patch) -> None:
    def migrate(connection: Any, found: Any, migrations: Any, store_id: bytes) -> None:
        del store_id
        for migration in migrations[found.schema_version :]:
            for statement in migration.statements:
                connection.execute(statement)

    patch.setattr("perdure.backends.sqlite.schema.migrate", migrate)
    patch.setattr("perdure.backends.sqlite.store.migrate", migrate, raising=False)


@bug(
    "G4",
    "A worker that stops begins the next body",
    test="tests/engine/test_graceful_stop.py::test_a_body_that_runs_may_end",
)
def stops_are_not_heard(patch: Patch) -> None:
    from perdure.engine.attempt import Attempt

    patch.setattr(Attempt, "let_go_if_stopping", lambda self: None)


@bug(
    "H1",
    "A cron expression goes by UTC, whatever its time zone",
    test="tests/api/test_ticks.py::test_clock_changes",
)
def cron_by_utc(patch: Patch) -> None:
    from datetime import UTC

    from perdure.api.ticks import Cron

    init = Cron.__init__
    patch.setattr(Cron, "__init__", lambda self, expression, zone: init(self, expression, UTC))


@bug(
    "H4",
    "Each scheduler starts a run for each tick",
    test="tests/api/test_schedules.py::test_schedulers_race",
)
def ticks_are_not_shared(patch: Patch) -> None:
    from perdure.api.schedule_state import ScheduleState

    decide = ScheduleState.decide

    def always(self: Any, *args: Any) -> bool:
        decide(self, *args)
        return True

    patch.setattr(ScheduleState, "decide", always)
