"""Many schedules at once: the same comes of them in one process and in several."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from perdure.engine.mailbox import Mailbox
from perdure.testing.simulation import many
from perdure.testing.simulation.__main__ import main
from perdure.testing.simulation.many import Setting, Tally, play_all
from perdure.testing.simulation.plan import Plan

FOREVER = float("inf")


def _ignore(tally: Tally) -> None:
    del tally


def test_two_processes_play_what_one_plays() -> None:
    told: list[int] = []
    together = play_all(range(120), Setting(), 2, FOREVER, lambda tally: told.append(tally.events))
    alone = play_all(range(120), Setting(), 1, FOREVER, _ignore)
    assert together == alone
    assert together.schedules == 120
    assert together.broken is None
    assert told == sorted(set(told))
    assert len(told) == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_none_is_begun_when_the_time_is_over(jobs: int) -> None:
    assert play_all(range(10**9), Setting(), jobs, 0.0, _ignore) == Tally()


class Unplayable(Setting):
    def plan(self, seed: int) -> Plan:
        raise LookupError(f"no plan for {seed}")


def test_what_a_process_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="no plan for 0"):
        play_all(range(10**9), Unplayable(), 2, FOREVER, _ignore)


def test_the_first_that_breaks_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With timers that fire early. The failure is told, and the ledger says how far it came."""
    monkeypatch.setattr(Mailbox, "due_by", lambda mailbox, now: mailbox._timers())
    ledger, saved = tmp_path / "ledger.jsonl", tmp_path / "plan.json"
    asked = ["--seeds", "0:500", "--no-shrink", "--ledger", str(ledger), "--save", str(saved)]
    assert main(asked) == 1
    line = msgspec.json.decode(ledger.read_bytes())
    last = line["schedules"] - 1
    assert (line["what"], line["seeds"]) == ("simulation", f"0:{last + 1}")
    (failure,) = line["failures"]
    assert failure.startswith(f"seed {last}: I13")
    assert last < 499
    told = capsys.readouterr().out
    assert f"seed {last}" in told
    assert f"--plan {saved} --trace" in told
    assert main(["--plan", str(saved), "--no-shrink"]) == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--seeds", "5"], "'5' is not of the form A:B"),
        (["--seeds", "5:5"], "'5:5' is not of the form A:B"),
        (["--seeds", "0:9", "--jobs", "0"], "'0' is not a whole number from 1 on"),
    ],
)
def test_what_is_asked_wrongly(
    asked: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(asked)
    assert told in capsys.readouterr().err


def test_what_is_too_quiet_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if no process ever died, in as many schedules as are enough."""
    monkeypatch.setattr(many, "ENOUGH", 5)
    assert main(["--seeds", "0:4"]) == 0
    monkeypatch.setattr(many, "EXPECTED", frozenset({"dies", "never"}))
    assert main(["--seeds", "0:10"]) == 1
    assert "never happened in 10 schedules: never." in capsys.readouterr().out
