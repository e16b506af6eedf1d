"""What `doctor` finds in a store that was damaged on purpose, one thing at a time."""

from __future__ import annotations

import re
import sqlite3

import pytest

from perdure.backends.base import Suspend
from perdure.backends.sqlite import health
from perdure.core.identity import InvocationKey
from perdure.testing.contract.world import LEASE


def damage(world, *statements):
    """Alter the file behind the backend's back, belts taken off."""
    world.backend.close()
    with sqlite3.connect(world.backend._settings.path) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def problem(world):
    (found,) = world.backend.health().problems
    return found


def test_facts(world, path):
    world.finish(world.step(world.running(), b"1"))
    world.start("b")
    facts = world.backend.health().facts
    assert facts["path"] == str(path)
    assert facts["journal mode"] == "wal"
    assert facts["synchronous"] == "full"
    assert facts["schema"] == "5 (readers from 4, writers from 5)"
    assert facts["sqlite"] == sqlite3.sqlite_version
    assert (facts["invocations completed"], facts["invocations ready"]) == ("1", "1")
    assert int(facts["database bytes"]) > 0
    assert int(facts["wal frames at most"]) > 0


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE entry SET body = x'00' WHERE position = 1", "position 1.*match its checksum"),
        ("DELETE FROM entry WHERE position = 1", "expected position 1, found 2"),
        ("DELETE FROM entry WHERE position = 2", "says 3 entries, 2 were found"),
        ("UPDATE invocation SET head = 2", "says 2 entries, 3 were found"),
        ("UPDATE invocation SET head_hash = zeroblob(16)", "another seal"),
        ("UPDATE call SET seed = zeroblob(32)", "does not match its checksum"),
    ],
)
def test_a_damaged_journal(world, statement, words):
    record = world.running()
    world.commit(record, b"1", b"2", b"3")
    damage(world, statement)
    found = problem(world)
    assert "'a' (generation 1)" in found
    assert re.search(words, found)
    assert "backup" in found


def test_every_journal_is_looked_at(world, monkeypatch):
    monkeypatch.setattr(health, "_JOURNALS_PER_READ", 2)
    for number in range(7):
        world.commit(world.running(f"i{number}"), b"1")
    damage(world, "UPDATE entry SET at = 7")
    assert len(world.backend.health().problems) == 7
    monkeypatch.setattr(health, "PROBLEMS_MAX", 3)
    assert len(world.backend.health().problems) == 3


def test_a_lease_that_is_long_over(world):
    world.running()
    world.clock.advance(LEASE + health.OVERDUE_AFTER)
    assert world.backend.health().problems == ()
    world.clock.advance(1)
    assert "'worker-1', whose lease ended 300 s ago" in problem(world)


def test_an_orphan_child(world):
    world.start("child", parent=InvocationKey("nobody", 1))
    assert "'child' (generation 1) has no parent 'nobody'" in problem(world)


def test_entries_without_a_row(world):
    world.commit(world.running(), b"1")
    damage(world, "DELETE FROM invocation", "DELETE FROM call")
    assert "Journal 1 has entries and no invocation" in problem(world)


def test_a_row_without_its_call(world):
    world.start()
    damage(world, "DELETE FROM call")
    assert "Row 1 is in only one of the tables" in problem(world)


def test_a_lost_wake_up(world):
    record = world.running()
    world.dispose(record, Suspend())
    columns = "(seq, kind, source_id, source_generation)"
    damage(world, f"INSERT INTO inbox {columns} VALUES (1, 'done', 'x', 1)")
    assert "waits with something unread" in problem(world)


def test_a_file_that_others_can_read(world, path):
    world.start()
    path.chmod(0o644)
    assert "has mode 0644" in problem(world)
    assert "chmod 600" in problem(world)


def test_a_damaged_page(world, path):
    for number in range(200):
        world.start(f"i{number:03}")
    world.backend.close()
    data = bytearray(path.read_bytes())
    page = data.rindex(b"i150") // 4_096 * 4_096
    data[page + 3 : page + 5] = b"\xff\xff"
    path.write_bytes(data)
    problems = world.backend.health().problems
    assert problems
    assert all("is damaged" in each and "backup" in each for each in problems)


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_range_of_the_wal_reset_bug(version, bad):
    assert health.in_wal_reset_range(version) is bad


def test_the_file_system_is_that_of_the_nearest_mount():
    mounts = [
        "/dev/sda / ext4 rw 0 0\n",
        "server:/home /home nfs4 rw 0 0\n",
        "tmpfs /home/me/ram tmpfs rw 0 0\n",
    ]
    assert health.file_system_of("/var/p.db", mounts) == "ext4"
    assert health.file_system_of("/home/me/p.db", mounts) == "nfs4"
    assert health.file_system_of("/home/me/ram/p.db", mounts) == "tmpfs"
    assert health.file_system_of("/homes/p.db", mounts) == "ext4"
    assert health.file_system_of("relative", []) == ""


def test_a_network_file_system_is_a_problem(world, monkeypatch):
    world.start()
    monkeypatch.setattr(health, "file_system_of", lambda path, mounts: "nfs4")
    assert "network file system (nfs4)" in problem(world)
