"""`perdure schedule ...`: what is planned, holding it back, and filling gaps."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shop

LONG_AGO = ("2026-03-29T00:00+01:00", "2026-03-29T04:00:00+02:00")


@pytest.fixture
def hourly(shop: Shop) -> Shop:
    """The shop with a schedule."""
    file = shop.directory / "shop.py"
    file.write_text(
        file.read_text()
        + """
@app.schedule("0 * * * *", timezone="Europe/Berlin", name="hourly")
@app.workflow
def count() -> None:
    return
"""
    )
    return shop


def test_a_list_of_schedules(hourly: Shop) -> None:
    missing = hourly("schedule", "list", "-A", "shop:app")
    assert missing.code == 5, "a command that reads makes no database"
    assert hourly("run", "shop:echo", "-i", "[1]").code == 0

    done = hourly("schedule", "list", "-A", "shop:app")
    assert done.code == 0, done.err
    header, row = done.out.splitlines()
    assert header.split()[:2] == ["SCHEDULE", "RULE"]
    assert row.split()[:7] == ["hourly", "0", "*", "*", "*", "*", "Europe/Berlin"]
    assert row.endswith("active")

    (told,) = hourly("schedule", "list", "-A", "shop:app", "--json").json
    assert told["function"] == "shop.count"
    assert told["next_tick"].endswith(":00:00Z")
    assert (told["paused"], told["last_tick"], told["last_became"]) == (False, None, None)


def test_pause_and_resume(hourly: Shop) -> None:
    named = ("hourly", "-A", "shop:app")
    done = hourly("schedule", "pause", *named, "--reason", "stocktaking")
    assert (done.code, done.err.strip()) == (0, "hourly is paused.")
    assert "already" in hourly("schedule", "pause", *named).err
    (told,) = hourly("schedule", "list", "-A", "shop:app", "--json").json
    assert (told["paused"], told["reason"], told["next_tick"]) == (True, "stocktaking", None)
    assert "paused: stocktaking" in hourly("schedule", "list", "-A", "shop:app").out
    done = hourly("schedule", "resume", *named)
    assert done.code == 0
    assert "next tick" in done.err
    assert "not paused" in hourly("schedule", "resume", *named).err


def test_backfill(hourly: Shop) -> None:
    expected = [f"hourly@2026-03-{day}:00:00Z" for day in ("28T23", "29T00", "29T01")]
    for _ in range(2):
        done = hourly("schedule", "backfill", "hourly", *LONG_AGO, "-A", "shop:app")
        assert done.code == 0, done.err
        assert done.out.split() == expected
    found = hourly("workflow", "list", "-A", "shop:app", "--json").json
    assert sorted(each["id"] for each in found) == expected


def test_what_cannot_be_done(hourly: Shop) -> None:
    for words, said in (
        (("pause", "daily", "-A", "shop:app"), "Its schedules: hourly"),
        (("list",), "No app is named"),
        (("backfill", "hourly", "yesterday", "now", "-A", "shop:app"), "START"),
        (("backfill", "hourly", "2026-03-29T00:00Z", "2026-03-30", "-A", "shop:app"), "END"),
    ):
        done = hourly("schedule", *words)
        assert done.code == 2, words
        assert said in done.err


def test_an_app_without_schedules(shop: Shop) -> None:
    done = shop("schedule", "list", "-A", "shop:app")
    assert (done.code, done.out) == (0, "")
    assert "@app.schedule" in done.err
