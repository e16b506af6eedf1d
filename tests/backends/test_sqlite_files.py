"""The files of a store: when they are made, with which mode, and how large the log may grow."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure.backends.sqlite import SQLiteBackend, writer
from perdure.testing.contract import World


def modes(folder):
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def test_nothing_is_touched_before_the_first_call(tmp_path, open_backend):
    backend = open_backend()
    assert backend.now() > 0
    backend.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_all_files_are_for_their_owner_only(tmp_path, world, umask):
    before = os.umask(umask)
    try:
        world.finish(world.running())
    finally:
        os.umask(before)
    names = ("perdure.db", "perdure.db-lock", "perdure.db-shm", "perdure.db-wal")
    assert modes(tmp_path) == dict.fromkeys(names, 0o600)


def test_the_last_close_empties_the_log(tmp_path, world, open_backend):
    world.start()
    other = open_backend()
    assert other.read("a") is not None
    world.backend.close()
    assert (tmp_path / "perdure.db-wal").exists()
    other.close()
    assert sorted(modes(tmp_path)) == ["perdure.db", "perdure.db-lock"]


def test_a_call_after_close_opens_again(world):
    world.start()
    world.backend.close()
    assert world.backend.read("a") is not None
    world.start("b")


def test_an_object_that_was_forgotten_closes_itself(tmp_path, open_backend, path):
    backend = SQLiteBackend(path)
    backend.owners()
    assert (tmp_path / "perdure.db-wal").exists()
    del backend
    assert sorted(modes(tmp_path)) == ["perdure.db", "perdure.db-lock"]


def test_many_that_open_at_once_make_one_database(open_backend):
    backends = [open_backend() for _ in range(8)]
    barrier = threading.Barrier(len(backends))

    def first_call(backend):
        barrier.wait()
        return backend.store_id()

    with ThreadPoolExecutor(len(backends)) as pool:
        assert len(set(pool.map(first_call, backends))) == 1


def test_settings_of_every_connection(path, world):
    world.start()
    world.backend.renew("w", [], 1)
    store = world.backend._store
    for connection in store._connections():
        for name, expected in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("wal_autocheckpoint", 0),
            ("mmap_size", 0),
            ("trusted_schema", 0),
        ):
            assert connection.execute(f"PRAGMA {name}").fetchone() == (expected,)
        assert connection.isolation_level is None
    assert len(store._connections()) == 3


def test_checkpoints_keep_the_log_bounded(world, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_CHANGES", 50)
    record = world.running()
    sizes = []
    for number in range(600):
        record = world.step(record, b"%d" % number)
        sizes.append(writer.wal_bytes(world.backend._settings.path))
    assert max(sizes[100:]) == max(sizes[500:])
    assert max(sizes) < 100 * 4 * 4_120


def test_a_log_that_a_reader_let_grow_is_cut_when_it_leaves(world, monkeypatch):
    monkeypatch.setattr(writer, "WAL_BYTES_MAX", 200_000)
    record = world.running()
    path = world.backend._settings.path
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM meta").fetchall()
    for _ in range(60):
        record = world.step(record, b"x" * 4_000)
    grown = writer.wal_bytes(path)
    assert grown > 400_000
    reader.execute("COMMIT")
    reader.close()
    sizes = []
    for _ in range(2 * writer.WAL_LOOK_EVERY):
        record = world.step(record, b"x")
        sizes.append(writer.wal_bytes(path))
    assert min(sizes) == 0
    assert len(world.backend.read_journal(record.key)) == 60 + 2 * writer.WAL_LOOK_EVERY


def test_a_checkpoint_that_fails_harms_no_commit(world, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_CHANGES", 0)
    record = world.running()
    calls = []

    def refused(*arguments):
        calls.append(arguments)
        return sqlite3.SQLITE_DENY if arguments[1] == "wal_checkpoint" else sqlite3.SQLITE_OK

    connection = world.backend._store._writer.connection
    connection.set_authorizer(refused)
    assert world.step(record, b"1").head == 1
    connection.set_authorizer(None)
    assert any(call[1] == "wal_checkpoint" for call in calls)


def test_a_path_with_odd_characters(tmp_path, open_backend, clock):
    odd = tmp_path / "a b%20?mode=ro#c&é'.db"
    world = World(open_backend(path=odd), clock)
    world.start()
    assert odd.exists()
