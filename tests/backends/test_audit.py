"""The auditor: silent on a sound store, also one in use; loud on each thing done to it by hand."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from perdure import Perdure, wf
from perdure.api.settings import load_settings
from perdure.backends.base import Backend, InvocationQuery
from perdure.backends.limits import QueueLimits
from perdure.backends.sqlite import SQLiteBackend
from perdure.core.lifecycle import InvocationState
from perdure.drivers import make_backend
from perdure.engine.audit import Report, audit
from perdure.engine.baseline import Baseline
from perdure.engine.env import SystemEnv
from perdure.errors import ConfigurationError
from tests.support.postgres import drop_database, make_database
from tests.support.stores import server_url, step

LIMITS = {"one": QueueLimits(concurrency=1), "keyed": QueueLimits(key_concurrency=1)}


OPEN = """
DO $$ DECLARE each record; BEGIN
    FOR each IN SELECT conname, conrelid::regclass AS place FROM pg_constraint
        WHERE connamespace = 'perdure'::regnamespace AND contype IN ('c', 'f') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', each.place, each.conname);
    END LOOP;
END $$
"""
"""Takes the CHECKs of a PostgreSQL store away, so that it can be damaged."""


def for_postgres(statement: str) -> str:
    """The same damage in the other dialect."""
    statement = re.sub(r"\b(UPDATE|FROM|INTO) (?=[a-z])", r"\1 perdure.", statement)
    statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
    statement = statement.replace("zeroblob(16)", "decode(repeat('00', 16), 'hex')")
    statement = statement.replace("id = (999 << 32)", "seq = 999").replace("id >> 32", "seq")
    return statement.replace("1 << 60", "1::bigint << 60")


def waiting(app: Perdure) -> set[str]:
    query = InvocationQuery(app="audited", states=(InvocationState.WAITING,))
    return {record.key.invocation_id for record in app.runtime.backend.query(query)}


def fill(url: str) -> None:
    """A store with something in every state: ended well, failed, asleep, waiting, ready.

    `w` waits for a task, `m` for a message, `t` for what is emitted to a topic.
    """
    app = Perdure(url, name="audited", grace=0.0)

    @app.task
    def work(number: int) -> str:
        return f"done {number}"

    @app.workflow
    def parent() -> list[str]:
        wf.record("chance", lambda: 4)
        work(0)
        return [work.start(1).result(), work.start(2).result()]

    @app.workflow
    def sleeper() -> None:
        wf.sleep(3600)

    @app.workflow
    def fails() -> None:
        raise ValueError("no")

    @app.workflow
    def receives() -> None:
        wf.receive("never")

    @app.workflow
    def listens() -> None:
        wf.receive_topic("never")

    parent.options(id="p").start().result(30)
    fails.options(id="f").start()
    sleeper.options(id="s").start()
    parent.options(id="w").start()
    receives.options(id="m").start()
    listens.options(id="t").start()
    while not {"w", "m", "t"} <= waiting(app):
        assert step(app)
    parent.options(id="r").start()
    app.close()


class Audited:
    """A store like that, and hands to damage it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.file = folder / "baseline"

    def open(self) -> Backend:
        settings = load_settings({"database_url": self.url})
        return make_backend(settings, SystemEnv(), read_only=True)

    def audit(self, **more) -> Report:
        backend = self.open()
        try:
            return audit(backend, **more)
        finally:
            backend.close()

    def compare(self) -> Report:
        backend = self.open()
        try:
            with Baseline(self.file, backend.store_id()) as baseline:
                report = audit(backend, baseline=baseline)
                if not report.violations:
                    baseline.keep()
                return report
        finally:
            backend.close()

    def damage(self, *statements: str) -> None:
        """Alter the rows behind everybody's back, belts and CHECKs taken off."""
        if self.url.startswith("sqlite"):
            self._damage_sqlite(statements)
            return
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(OPEN)
            connection.execute("SET session_replication_role = replica")  # no triggers
            for statement in statements:
                changed = connection.execute(for_postgres(statement).encode()).rowcount
                assert changed > 0, statement

    def _damage_sqlite(self, statements: Sequence[str]) -> None:
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            for (name,) in triggers.fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, statement
        connection.close()


@pytest.fixture(scope="module")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "perdure.db"
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def postgres_template() -> Iterator[str]:
    server = server_url()
    url = make_database(server)
    fill(url)
    yield url
    drop_database(server, url)


@pytest.fixture(params=["sqlite", "postgres"])
def audited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Audited]:
    """A copy of a filled store of each kind."""
    template = request.getfixturevalue(f"{request.param}_template")
    if request.param == "sqlite":
        shutil.copy(template, tmp_path / "perdure.db")
        yield Audited(f"sqlite:///{tmp_path / 'perdure.db'}", tmp_path)
        return
    server = server_url()
    url = make_database(server, template=urlsplit(template).path[1:])
    yield Audited(url, tmp_path)
    drop_database(server, url)


def test_a_sound_store(audited: Audited) -> None:
    report = audited.audit(limits=LIMITS, app="audited")
    assert report.violations == ()
    assert report.facts["invocations"] >= 7
    assert report.facts["entries"] > 10


P = "invocation_id = 'p'"
SEQ_OF_P = f"(SELECT seq FROM invocation WHERE {P})"
OF_P = f"id >> 32 = {SEQ_OF_P}"
CHILD_OF_P = "(SELECT max(seq) FROM invocation WHERE parent_id = 'p')"
TOKEN_OF_P = f"(SELECT token FROM entry WHERE {OF_P} AND position = 0)"


def row(id_: str, change: str) -> str:
    return f"UPDATE invocation SET {change} WHERE invocation_id = '{id_}'"


def entry(position: int, change: str) -> str:
    return f"UPDATE entry SET {change} WHERE {OF_P} AND position = {position}"


def message(to: str) -> str:
    seq = f"(SELECT seq FROM invocation WHERE invocation_id = '{to}')"
    row = f"coalesce({seq}, 999), 'done', 's', 1"
    return f"INSERT INTO inbox (seq, kind, source_id, source_generation) SELECT {row}"


PLANTED = [
    ("I2", "p#1", row("p", "outcome = NULL")),
    ("I2", "p#1", row("p", "finished_at = NULL")),
    ("I2", "p#1", row("p", "state = 'waiting'")),
    ("I2", "p#1", row("p", "state = 'failed'")),
    ("I2", "w#1", row("w", "state = 'completed'")),
    ("I19", "p#1", row("p", "outcome = x'6e756c6c'")),
    ("I19", "p#1", row("p", "last_token = zeroblob(16)")),
    ("I19", "p#1", entry(1, "body = x'00'")),
    ("I19", "p#1", entry(1, "epoch = 9")),
    ("I4", "p#1", f"DELETE FROM entry WHERE {OF_P} AND position = 1"),
    ("I4", "p#1", f"DELETE FROM entry WHERE {OF_P} AND position = 5"),
    ("I4", "p#1", row("p", "head = head + 1")),
    ("I4", "p#1", row("p", "head_hash = zeroblob(16)")),
    ("I4", "p#1", row("p", "kind = 'task'")),
    ("I4", "p#1", f"DELETE FROM call WHERE seq = {SEQ_OF_P}"),
    ("I4", "", entry(5, "id = (999 << 32)")),
    ("I5", "p#1", entry(1, "epoch = 9")),
    ("I5", "p#1", row("p", "epoch = 0")),
    ("I6", "p#1", entry(3, f"epoch = 7, token = {TOKEN_OF_P}")),
    ("I6", "s#1", row("s", "owner = 'me'")),
    ("I6", "s#1", row("s", "lease_until = 9")),
    ("I6", "p#1", row("p", "wake_at = 9")),
    ("I6", "r#1", row("r", "state = 'running'")),
    ("I11", "p#1", f"UPDATE invocation SET invocation_id = 'other' WHERE seq = {CHILD_OF_P}"),
    ("I11", "s#1", row("s", "parent_id = 'p', parent_generation = 1")),
    ("I11", "s#1", row("s", "parent_id = 'no', parent_generation = 1")),
    ("I11", "s#1", row("s", "root_id = 'no'")),
    ("I15", "f#3", row("f", "generation = 3")),
    ("I15", "p#1", row("f", "invocation_id = 'p', generation = 2")),
    ("I16", "s#1", row("s", "wake_at = NULL")),
    ("I16", "s#1", row("s", "state = 'lost'")),
    ("I16", "r#1", row("r", "state = 'parked'")),
    ("I16", "w#1", "DELETE FROM watch"),
    ("I16", "w#1", message("w")),
    ("I16", "p#1", message("p")),
    ("I16", "", message("nobody")),
    ("I16", "p#1", f"UPDATE watch SET target = {SEQ_OF_P}"),
    ("I16", "", "UPDATE watch SET target = 999"),
]


@pytest.mark.parametrize(("invariant", "key", "statement"), PLANTED)
def test_each_planted_violation_is_found(
    audited: Audited, invariant: str, key: str, statement: str
) -> None:
    audited.damage(statement)
    found = audited.audit().violations
    assert (invariant, key) in {(each.invariant, each.key) for each in found}, found


def test_an_entry_after_the_end(audited: Audited) -> None:
    """A whole journal sealed anew by hand: only its meaning is wrong."""
    audited.damage(
        f"UPDATE entry SET kind = 'end', scope = '' WHERE {OF_P} AND position = 2",
        f"UPDATE entry SET kind = 'record' WHERE {OF_P}"
        f" AND position = (SELECT head - 1 FROM invocation WHERE {P})",
    )
    assert ("I18", "p#1") in {(each.invariant, each.key) for each in audited.audit().violations}


def test_more_leases_than_a_queue_may_have(audited: Audited) -> None:
    audited.damage(
        "UPDATE invocation SET state = 'running', owner = 'a', lease_until = 1 << 60, epoch = 1,"
        " wake_at = NULL, queue = 'one' WHERE invocation_id IN ('r', 's')"
    )
    first = audited.audit(limits=LIMITS, app="audited")
    assert [(each.invariant, each.key) for each in first.violations] == [("I17", "queue one")]
    gone = audited.audit(limits=LIMITS, app="audited", is_gone=lambda owner: owner == "a")
    assert gone.violations == ()
    audited.damage("UPDATE invocation SET queue = 'keyed', limit_key = 'k' WHERE queue = 'one'")
    (found,) = audited.audit(limits=LIMITS, app="audited").violations
    assert found.key == "queue keyed, key k"


REWRITTEN = [
    ("I3", f"UPDATE entry SET token = zeroblob(16) WHERE {OF_P}"),
    ("I3", row("p", "crashes = 3")),
    ("I3", f"UPDATE call SET arguments = x'7b7d20' WHERE seq = {SEQ_OF_P}"),
    ("I3", row("s", "epoch = 0")),
    ("I1", "DELETE FROM invocation WHERE invocation_id = 'f'"),
    ("I1", "DELETE FROM invocation WHERE invocation_id = 'r'"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "statement"), REWRITTEN)
def test_a_baseline_tells_what_no_seal_can(
    audited: Audited, invariant: str, statement: str
) -> None:
    assert audited.compare().violations == ()
    before = audited.file.read_bytes()
    assert audited.compare().violations == ()
    audited.damage(statement)
    found = audited.compare().violations
    assert invariant in {each.invariant for each in found}, found
    assert audited.file.read_bytes() == before
    assert [file.name for file in audited.file.parent.iterdir() if "baseline" in file.name] == [
        "baseline"
    ]


def test_one_epoch_has_one_owner(audited: Audited) -> None:
    audited.damage(
        "UPDATE invocation SET state = 'running', owner = 'a', lease_until = 1 << 60, epoch = 1"
        " WHERE invocation_id = 'r'"
    )
    assert audited.compare().violations == ()
    audited.damage("UPDATE invocation SET owner = 'b' WHERE invocation_id = 'r'")
    (found,) = audited.compare().violations
    assert "granted to 'b' too" in str(found)


@pytest.mark.parametrize("content", [b"", b"no baseline\n", b'[1,"00"]\n', b'[2,"00"]\n'])
def test_another_baseline_is_refused(audited: Audited, content: bytes) -> None:
    audited.file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="baseline"):
        audited.compare()
    assert audited.file.read_bytes() == content


def test_no_false_alarm_beside_workers(tmp_path: Path) -> None:
    """Audits with a baseline, one after the other, while workflows run on the same store."""
    app = Perdure(f"sqlite:///{tmp_path / 'perdure.db'}", name="audited", grace=0.0)

    @app.task
    def leaf(number: int) -> int:
        return number

    @app.workflow
    def tree(depth: int) -> int:
        if depth == 0:
            return leaf.start(1).result()
        handles = [tree.start(depth - 1), tree.start(depth - 1)]
        return sum(handle.result() for handle in handles)

    with app:
        running = [tree.start(3) for _ in range(6)]
        ended = threading.Event()
        results: list[int] = []

        def wait() -> None:
            results.extend(handle.result(60) for handle in running)
            ended.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        audits = 0
        backend = SQLiteBackend(tmp_path / "perdure.db", read_only=True)
        while audits < 2 or not ended.is_set():
            with Baseline(tmp_path / "baseline", backend.store_id()) as baseline:
                report = audit(backend, baseline=baseline)
                assert report.violations == ()
                baseline.keep()
            audits += 1
        waiter.join()
        backend.close()
    assert results == [8] * 6


def test_the_memory_backend_cannot_be_audited() -> None:
    with pytest.raises(ConfigurationError, match="cannot be audited"):
        audit(Perdure("memory://").runtime.backend)


def test_keys_are_told_as_people_write_them(audited: Audited) -> None:
    audited.damage("UPDATE invocation SET state = 'lost' WHERE invocation_id = 's'")
    told = [str(each) for each in audited.audit().violations]
    assert "I16 s#1: found state lost; expected one of the states of an invocation." in told
