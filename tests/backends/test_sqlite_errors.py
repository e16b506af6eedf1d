"""What a user gets when the file, its directory, the disk or another program is in the way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from perdure.backends.base import InvocationQuery
from perdure.backends.sqlite import SQLiteBackend
from perdure.backends.sqlite.schema import APPLICATION_ID
from perdure.core.identity import InvocationKey
from perdure.errors import (
    BackendFull,
    BackendUnavailable,
    ConfigurationError,
    ForeignDatabase,
    InternalError,
    SchemaMismatch,
)
from perdure.testing.contract.world import APP, World
from tests.support.permissions import without_root


def alter(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("name", ["", ":memory:", "a\0b"])
def test_a_path_that_names_no_file(name):
    with pytest.raises(ConfigurationError, match="names no file"):
        SQLiteBackend(name)


def test_an_unknown_synchronous_mode(path):
    with pytest.raises(ConfigurationError, match="'full' or 'normal', got 'off'"):
        SQLiteBackend(path, synchronous="off")  # type: ignore[arg-type]


def test_a_database_of_another_program_is_not_touched(path, open_backend):
    alter(path, "CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match=r"another program.*bookmarks.*Name another"):
        open_backend().read("a")
    assert path.read_bytes() == before


def test_an_empty_database_of_another_program(path, open_backend):
    alter(path, "PRAGMA application_id = 7", "PRAGMA user_version = 1")
    with pytest.raises(ForeignDatabase, match="application_id 7"):
        open_backend().read("a")


def test_our_mark_without_our_tables(path, open_backend):
    alter(path, f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE other (x)")
    with pytest.raises(ForeignDatabase):
        open_backend().read("a")


def test_an_empty_file_may_be_taken(path, world):
    path.touch()
    assert world.start().key.generation == 1


@pytest.mark.parametrize("read_only", [False, True])
def test_a_text_file(path, open_backend, read_only):
    text = "dear diary, " * 1_000
    path.write_text(text)
    with pytest.raises(ForeignDatabase, match=r"not a perdure database.*Name another"):
        open_backend(read_only=read_only).read("a")
    assert path.read_text() == text


def test_a_truncated_file(path, world, open_backend):
    for number in range(50):
        world.start(f"i{number}", arguments=b"x" * 2_000)
    world.backend.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2 + 100)
    with pytest.raises(ForeignDatabase, match=r"damaged.*restore"):
        open_backend().query(InvocationQuery(app=APP))


def test_a_newer_schema_that_may_not_be_read(path, world, open_backend):
    world.start()
    world.backend.close()
    alter(path, "UPDATE meta SET schema_version = 9, min_reader = 9, min_writer = 9")
    for read_only in (False, True):
        with pytest.raises(SchemaMismatch, match=r"schema 9.*knows 5.*Upgrade perdure"):
            open_backend(read_only=read_only).read("a")


def test_a_newer_schema_that_may_be_read_but_not_written(path, world, open_backend):
    world.start()
    world.backend.close()
    alter(path, "UPDATE meta SET schema_version = 9, min_reader = 1, min_writer = 9")
    with pytest.raises(SchemaMismatch, match="read_only=True"):
        open_backend().read("a")
    assert open_backend(read_only=True).read("a") is not None


def test_a_newer_schema_that_may_be_written(path, world, open_backend):
    world.start()
    world.backend.close()
    alter(path, "UPDATE meta SET schema_version = 9")
    newer = open_backend()
    assert newer.start(world.new("b"), "return").created


def test_an_older_schema_is_not_migrated_by_a_reader(path, world, open_backend):
    world.start()
    world.backend.close()
    alter(path, "UPDATE meta SET schema_version = 0")
    with pytest.raises(
        SchemaMismatch, match=r"has schema 0, .*perdure db upgrade, or open it once to write"
    ):
        open_backend(read_only=True).read("a")


def test_a_missing_directory(tmp_path, open_backend):
    where = tmp_path / "no" / "such.db"
    with pytest.raises(BackendUnavailable, match=r"such\.db-lock.*No such file.*[Cc]reate"):
        open_backend(path=where).read("a")


def test_a_directory_in_place_of_the_file(path, open_backend):
    path.mkdir()
    with pytest.raises(BackendUnavailable, match=r"perdure\.db"):
        open_backend().read("a")


def test_a_lock_file_that_is_a_link_is_refused(path, tmp_path, open_backend):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "perdure.db-lock").symlink_to(tmp_path / "victim")
    with pytest.raises(BackendUnavailable, match="lock file"):
        open_backend().read("a")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_directory_without_permission(open_backend):
    with without_root() as folder:
        folder.chmod(0o500)
        with pytest.raises(BackendUnavailable, match="Permission denied"):
            open_backend(path=folder / "p.db").read("a")


def test_a_file_without_permission(open_backend, clock, world):
    world.start()  # a rehearsal
    with without_root() as folder:
        path = folder / "p.db"
        there = World(open_backend(path=path), clock)
        there.start()
        there.backend.close()
        path.chmod(0o400)
        with pytest.raises(BackendUnavailable, match="writable for this user"):
            open_backend(path=path).start(there.new("b"), "return")


def test_a_database_that_turned_read_only(world):
    world.start()
    world.backend._store._writer.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(BackendUnavailable, match=r"SQLITE_READONLY.*writable for this user"):
        world.start("b")
    world.backend._store._writer.connection.execute("PRAGMA query_only = OFF")
    assert world.backend.read("b") is None
    world.start("b")


def test_read_only_makes_nothing(path, tmp_path, open_backend):
    with pytest.raises(BackendUnavailable, match=r"no database.*Check the path"):
        open_backend(read_only=True).read("a")
    assert list(tmp_path.iterdir()) == []


def test_read_only_reads_and_refuses_to_write(world, open_backend):
    record = world.running()
    reader = open_backend(read_only=True)
    assert reader.read("a") == record
    assert reader.read_journal(record.key) == []
    assert reader.owners() == {"worker-1"}
    assert reader.health().problems == ()
    for write in (
        lambda: reader.start(world.new("b"), "return"),
        lambda: reader.commit([world.transition(record, b"1")]),
        lambda: reader.renew("worker-1", [world.holding(record)], 1),
        lambda: reader.resume(record.key),
        lambda: reader.read("a", locked=True),
    ):
        with pytest.raises(BackendUnavailable, match="read_only=True"):
            write()


def test_a_full_disk_leaves_nothing_half_done_and_goes_on_with_space(world):
    record = world.running()
    other = world.running("other")
    connection = world.backend._store._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 10}")
    children = (world.new("child"),)
    large = world.transition(record, b"small", b"x" * 100_000, children=children)
    with pytest.raises(BackendFull, match=r"Nothing was recorded.*Free space"):
        world.backend.commit([world.transition(other, b"1"), large])
    assert world.read(other.key) == other
    assert world.read(record.key) == record
    assert world.backend.read_journal(record.key) == []
    assert world.backend.read("child") is None
    world.commit(record, b"small enough")
    connection.execute("PRAGMA max_page_count = 100000")
    world.commit(world.read(record.key), b"x" * 100_000)
    assert world.backend.health().problems == ()


def test_a_program_that_keeps_a_transaction_open_is_waited_for_and_named(path, open_backend):
    backend = open_backend(lock_timeout=0.05)
    backend.read("a")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendUnavailable, match=r"does not queue.*End that program"):
        backend.resume(InvocationKey("a", 1))
    shell.execute("ROLLBACK")
    shell.close()


def test_what_sqlite_refuses_is_our_bug_and_leaves_nothing(world):
    record = world.running()
    with pytest.raises(InternalError, match=r"CHECK constraint.*report"):
        world.try_commit(record, b"1", children=(world.new("x" * 300),))
    assert world.read(record.key) == record
    world.commit(record, b"1")


def test_a_value_that_no_statement_can_hold_leaves_the_backend_usable(world):
    record = world.running()
    with pytest.raises(UnicodeEncodeError):
        world.try_commit(record, b"1", data=(("\ud800", b"1"),))
    with pytest.raises(OverflowError):
        world.start("b", priority=2**70)
    assert world.read(record.key) == record
    world.commit(record, b"1")
