from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure import wf
from perdure.errors import InvocationCancelled
from perdure.worker.upkeep import Upkeep
from tests.cli.conftest import Done, Shop

URL = "sqlite:///shop.db"


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Three orders that ended, one that failed and one that nobody has run."""
    for number in (1, 2, 3):
        shop.module.order.options(id=f"o{number}").start(["pen"]).result()
    with pytest.raises(ValueError, match="no ink"):
        shop.module.broken.options(id="b1").start("no ink").result()
    shop.module.order.options(id="waits").start(["ink"])
    shop.app.close()
    return shop


def test_list_pages_and_filters(filled: Shop) -> None:
    def ids(*more: str) -> list[str]:
        done = filled("workflow", "list", "-A", "shop", "--json", *more)
        assert done.code == 0, done.err
        return [row["id"] for row in done.json]

    assert ids() == ["waits", "b1", "o3", "o2", "o1"]
    assert ids("--limit", "2") == ["waits", "b1"]
    assert ids("--limit", "2", "--after", "b1") == ["o3", "o2"]
    assert ids("--status", "failed", "--status", "ready") == ["waits", "b1"]
    assert ids("--name", "shop.broken") == ["b1"]


def test_started_tasks_are_listed_too(shop: Shop) -> None:
    assert "No task of app 'shop'" in made(shop, "workflow", "list", "--tasks", "-A", "shop").err
    shop.module.pack.options(id="p1").start("pen")
    shop.app.close()
    told = shop("workflow", "list", "--tasks", "-A", "shop").out.splitlines()
    assert told[0].split()[:3] == ["ID", "TASK", "STATUS"]
    assert told[1].split()[:3] == ["p1", "shop.pack", "ready"]


def made(shop: Shop, *argv: str) -> Done:
    """A command on a database that is there, and empty."""
    assert shop("db", "upgrade", "-A", "shop").code == 0
    return shop(*argv)


def test_a_list_for_people(filled: Shop) -> None:
    done = filled("workflow", "list", "-A", "shop", "--limit", "2")
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["ID", "WORKFLOW", "STATUS"]
    assert lines[1].split()[:3] == ["waits", "shop.order", "ready"]
    assert "--after b1" in done.err


def test_reads_need_no_code(filled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (filled.directory / "shop.py").unlink()
    named = ("--url", URL, "--app-name", "shop")
    assert len(filled("workflow", "list", *named, "--json").json) == 5
    assert filled("workflow", "result", "o1", "--url", URL).json["boxes"] == ["box of pen"]
    monkeypatch.setenv("PERDURE_DATABASE_URL", URL)
    assert filled("workflow", "show", "o1").code == 0
    assert filled("doctor").code == 0


def test_another_app_name_is_pointed_out(filled: Shop) -> None:
    done = filled("workflow", "list", "--url", URL)
    assert (done.code, done.out) == (0, "")
    assert "--app-name" in done.err


def test_the_app_is_found_by_variable_and_settings_file(
    filled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filled.directory / "pyproject.toml").write_text('[tool.perdure]\napp = "shop:app"\n')
    assert len(filled("workflow", "list", "--json").json) == 5
    monkeypatch.setenv("PERDURE_APP", "shop:number")
    done = filled("workflow", "list")
    assert done.code == 2
    assert "PERDURE_APP" in done.err
    assert filled("workflow", "list", "-A", "shop:app", "--url", URL).code == 2


def test_show_tells_the_journal(filled: Shop) -> None:
    done = filled("workflow", "show", "o1", "-A", "shop", "--json")
    told = done.json
    assert told["status"] == "completed"
    assert told["arguments"] == {"items": ["pen"], "when": None}
    assert told["result"]["boxes"] == ["box of pen"]
    assert told["damage"] is None
    task = next(entry for entry in told["journal"] if entry["kind"] == "task")
    assert task["key"] == "task:1"
    assert task["body"] == {"arguments": {"item": "pen"}, "result": "box of pen"}
    assert "shop.py:" in task["line"]
    people = filled("workflow", "show", "o1", "-A", "shop").out
    assert 'shop.pack(item="pen")' in people
    assert "uuid:1" in people


def test_results_and_their_exit_codes(filled: Shop) -> None:
    def result(id: str, *more: str):
        return filled("workflow", "result", id, "-A", "shop", *more)

    assert result("o1").code == 0
    failed = result("b1")
    assert (failed.code, failed.out) == (1, "")
    assert "ValueError: no ink" in failed.err
    failed = result("b1", "--json")
    assert failed.code == 1
    assert failed.json["error"]["message"] == "no ink"
    missing = result("nope")
    assert (missing.code, missing.out) == (3, "")
    assert "PRD020" in missing.err
    assert result("waits").code == 124
    late = result("waits", "--wait", "--timeout", "0")
    assert late.code == 124
    assert "goes on" in late.err
    assert result("waits", "--timeout", "1").code == 2
    assert result("o1", "--wait").code == 0


def test_values_are_shown_as_recorded(shop: Shop) -> None:
    value = {"when": {1, 2}, "text": "\x9b31m Zürich"}
    shop.module.echo.options(id="e1").start(value).result()
    done = shop("workflow", "result", "e1", "-A", "shop")
    assert "\x9b" not in done.out
    assert "Zürich" in done.out
    assert done.json == {
        "$": "v",
        "v": {"when": {"$": "set", "v": [1, 2]}, "text": "\x9b31m Zürich"},
    }


@pytest.mark.parametrize(
    "argv",
    [
        ["workflow", "list"],
        ["workflow", "show", "x"],
        ["workflow", "result", "x"],
        ["workflow", "resume", "x"],
        ["workflow", "verify", "x", "-A", "shop"],
        ["doctor"],
    ],
)
def test_a_missing_database_is_said_and_not_made(shop: Shop, argv: list[str]) -> None:
    done = shop(*argv)
    assert done.code == 5
    assert "There is no database" in done.out + done.err
    assert [file.name for file in shop.directory.iterdir() if ".db" in file.name] == []


def test_parameters_of_a_sqlite_url_are_refused_and_not_looked_for(shop: Shop) -> None:
    done = shop("workflow", "list", "--url", "sqlite:///shop.db?mode=ro")
    assert done.code == 2
    assert "takes no parameters" in done.out + done.err


def test_a_foreign_file_is_refused(shop: Shop) -> None:
    Path("other.db").write_text("no database at all, but long enough to be read as one" * 50)
    done = shop("workflow", "list", "--url", "sqlite:///other.db")
    assert (done.code, done.out) == (5, "")
    assert "PRD044" in done.err


@contextlib.contextmanager
def unguarded() -> Iterator[sqlite3.Connection]:
    """The database without the triggers that keep journals as they are."""
    with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def test_damage_is_shown_and_told(filled: Shop) -> None:
    with unguarded() as connection:
        rows = connection.execute("SELECT rowid, body FROM entry").fetchall()
        row, body = next(pair for pair in rows if b"box of pen" in bytes(pair[1]))
        worse = bytes(body).replace(b"box of pen", b"box of \x1b[1m")
        connection.execute("UPDATE entry SET body = ? WHERE rowid = ?", (worse, row))
    done = filled("workflow", "show", "o1", "-A", "shop")
    assert done.code == 5
    assert "PRD045" in done.err
    assert "box of" in done.out
    assert "\x1b" not in done.out + done.err
    assert filled("doctor", "-A", "shop").code == 1


def test_doctor(filled: Shop) -> None:
    done = filled("doctor", "-A", "shop", "--json")
    assert done.code == 0, done.out
    told = done.json
    assert told["problems"] == []
    assert told["settings"]["name"] == "shop"
    assert told["settings"]["named_by"] == "shop (from -A)"
    assert told["facts"]["backend"] == "sqlite"
    assert "No problems found." in filled("doctor", "-A", "shop").out


def test_parked_work_is_told_and_resumed(shop: Shop) -> None:
    park(shop)
    shown = shop("workflow", "show", "c1", "-A", "shop", "--json").json
    assert shown["status"] == "parked"
    assert "Divergence" in shown["reason"]
    assert shop("workflow", "result", "c1", "-A", "shop").code == 4
    assert shop("workflow", "result", "c1", "-A", "shop", "--wait").code == 4
    told = shop("doctor", "-A", "shop")
    assert told.code == 1
    assert told.out.count("resume") == 1, "the remedy is told once"
    assert shop("run", "shop:changing", "--id", "c1").code == 4
    (shop.directory / "changed").unlink()
    resumed = shop("workflow", "resume", "c1", "-A", "shop")
    assert resumed.code == 0, resumed.err
    assert "ready again" in resumed.err
    assert shop("run", "shop:changing", "--id", "c1").json == "box of ink"
    assert shop.ran() == ["pen", "ink"]
    assert shop("workflow", "resume", "c1", "-A", "shop").code == 1
    assert shop("workflow", "resume", "nope", "-A", "shop").code == 3


def test_work_is_paused_cancelled_and_terminated(shop: Shop) -> None:
    park(shop)
    paused = shop("workflow", "pause", "c1", "-A", "shop")
    assert paused.code == 0, paused.err
    assert "resume" in paused.err
    ended = shop("workflow", "terminate", "c1", "--reason", "no use", "-A", "shop")
    assert ended.code == 0, ended.err
    assert shop("workflow", "show", "c1", "-A", "shop", "--json").json["status"] == "terminated"
    for command in ("pause", "cancel"):
        done = shop("workflow", command, "c1", "-A", "shop")
        assert done.code == 1
        assert "terminated" in done.err
        assert shop("workflow", command, "nope", "-A", "shop").code == 3
    result = shop("workflow", "result", "c1", "-A", "shop")
    assert result.code == 1
    assert "was terminated, so it has no result. Reason: no use" in result.err


def park(shop: Shop) -> None:
    """Let a process die in the second task of a workflow, change the code, and go on."""
    (shop.directory / "die_at_ink").touch()
    process = shop.process("run", "shop:changing", "--id", "c1")
    process.communicate(timeout=60)
    assert process.returncode == 9
    (shop.directory / "changed").touch()
    done = shop("run", "shop:changing", "--id", "c1")
    assert (done.code, done.out) == (4, "")
    assert "does not replay" in done.err
    (shop.directory / "die_at_ink").unlink()


def test_a_deadline_is_shown_and_told(shop: Shop) -> None:
    later = datetime(2100, 1, 1, tzinfo=UTC)
    shop.module.order.options(id="d1", deadline=later).start(["pen"])
    shop.module.order.options(id="d2", timeout=0.001).start(["ink"])
    until = time.monotonic() + 60
    while not shop.app.runtime.backend.past_deadline("shop", 1):
        assert time.monotonic() < until
        time.sleep(0.001)
    Upkeep(shop.app.runtime).end_late()
    shop.app.close()
    told = shop("workflow", "show", "d1", "-A", "shop", "--json").json
    assert told["deadline"] == "2100-01-01T00:00:00Z"
    lines = shop("workflow", "show", "d1", "-A", "shop").out.splitlines()
    assert ["deadline", "2100-01-01T00:00:00Z"] in [line.split() for line in lines]
    ended = shop("workflow", "result", "d2", "-A", "shop")
    assert ended.code == 1
    assert "was cancelled, so it has no result. The deadline of the workflow, 20" in ended.err
    shown = shop("workflow", "show", "d2", "-A", "shop").out
    assert "DeadlinePassed: The deadline of the workflow, 20" in shown


def test_what_was_undone_and_what_is_left_is_told(shop: Shop) -> None:
    app = shop.app

    @app.task(name="undo")
    def undo(what: str) -> None: ...

    @app.workflow(name="trip")
    def trip(top: Any) -> None:
        wf.compensate(undo, "hotel")
        top.send("waits")
        wf.receive("never")

    @app.workflow(name="manager")
    def manager() -> None:
        for how in ("terminate", "cancel"):
            started = trip.options(id=how).start(wf.invocation())
            wf.receive("waits")
            getattr(started, how)("enough")
            with contextlib.suppress(InvocationCancelled):
                started.result()

    manager.start().result()
    app.close()
    for id_, note in (("terminate", "Not undone"), ("cancel", "Undone")):
        told = f'{note}: undo({{"what":"hotel"}}).'
        ended = shop("workflow", "result", id_, "--url", URL, "--app-name", "shop")
        assert ended.code == 1
        assert "so it has no result. Reason: enough\n" + told in ended.err
        assert told in shop("workflow", "show", id_, "--url", URL, "--app-name", "shop").out
    with unguarded() as connection:
        connection.execute("UPDATE entry SET body = x'78' WHERE kind = 'compensate'")
    ended = shop("workflow", "result", "terminate", "--url", URL, "--app-name", "shop")
    assert (ended.code, "Not undone" in ended.err) == (1, False), (
        "that it ended is told all the same"
    )


def test_help_and_version(shop: Shop) -> None:
    for argv in (["--help"], ["workflow", "--help"], ["run", "--help"], []):
        done = shop(*argv)
        assert done.code == 0
        assert "Usage: perdure" in done.out
        assert max(map(len, done.out.splitlines())) <= 100
    assert "revive: The same as resume." in shop("workflow", "--help").out
    assert shop("--version").out == shop("version").out


def test_settings_that_cannot_be_used(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_DATABSE_URL", URL)
    done = shop("workflow", "list")
    assert done.code == 2
    assert "PRD001" in done.err
    monkeypatch.delenv("PERDURE_DATABSE_URL")
    assert shop("workflow", "list", "--url", "mysql://user:secret@x/y").code == 2
    assert shop("workflow", "list", "--url", "memory://").code == 2


def test_a_bug_of_ours_is_one_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("perdure.cli.reads.doctor", fails)
    done = shop("doctor")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "Traceback" in shop("doctor", "--debug").err


def test_json_is_json(filled: Shop) -> None:
    for argv in (["workflow", "list"], ["workflow", "show", "b1"], ["doctor"]):
        json.loads(filled(*argv, "-A", "shop", "--json").out)


def test_verify_audits_and_compares(filled: Shop) -> None:
    told = filled("doctor", "-A", "shop", "--verify", "--json").json
    assert told["violations"] == []
    assert told["facts"]["invocations"] >= 5
    first = filled("doctor", "-A", "shop", "--verify", "--baseline", "seen")
    assert first.code == 0, first.err
    assert "No violations found." in first.out
    assert Path("seen").stat().st_mode & 0o777 == 0o600
    assert filled("doctor", "--verify", "--baseline", "seen", "--url", URL).code == 0
    with sqlite3.connect("shop.db") as connection:
        connection.execute("DROP TRIGGER entry_is_immutable")
        connection.execute("UPDATE entry SET token = zeroblob(16) WHERE position = 0")
    connection.close()
    changed = filled("doctor", "-A", "shop", "--verify", "--baseline", "seen")
    assert changed.code == 1
    assert "I3 o1#1: found other entries among the first" in changed.out
    assert filled("doctor", "-A", "shop", "--baseline", "seen").code == 2
    assert filled("doctor", "-A", "shop", "--verify", "--baseline", "shop.py").code == 2
