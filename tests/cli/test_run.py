from __future__ import annotations

import json
import sys

import pytest

from tests.cli.conftest import Shop

ORDER = json.dumps({"items": ["pen", "ink"]})


def test_the_result_alone_is_on_stdout(shop: Shop) -> None:
    done = shop("run", "shop:order", "--input", ORDER, "--id", "o1")
    assert done.code == 0
    assert done.json["boxes"] == ["box of pen", "box of ink"]
    assert "packing pen" in done.err
    assert "o1" in done.err


def test_the_same_id_gives_the_same_result_and_runs_nothing(shop: Shop) -> None:
    first = shop("run", "shop:order", "--input", ORDER, "--id", "o1")
    again = shop("run", "shop:order", "--input", ORDER, "--id", "o1")
    without_input = shop("run", "shop:order", "--id", "o1")
    assert first.out == again.out == without_input.out
    assert shop.ran() == ["pen", "ink"]


def test_an_app_that_leaves_running_to_workers_is_pointed_out(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_LOCAL_WORKER", "false")
    shop.app.start_worker()
    done = shop("run", "shop:order", "--input", ORDER, "--id", "o1")
    assert done.code == 0
    assert "perdure worker -A" in done.err
    again = shop("run", "shop:order", "--id", "o1")
    assert again.out == done.out
    assert "perdure worker" not in again.err


def test_input_by_position_by_file_and_typed(shop: Shop) -> None:
    (shop.directory / "input.json").write_text('[["pen"], "2026-01-02"]')
    done = shop("run", "shop.py:order", "--input", "@input.json")
    assert done.code == 0, done.err
    assert done.json["when"] == "2026-01-02"


def test_a_file_is_the_module_of_its_stem(shop: Shop) -> None:
    shop("run", str(shop.directory / "shop.py") + ":order", "--input", ORDER, "--id", "o1")
    assert shop("run", "shop:order", "--id", "o1").code == 0
    assert shop.ran() == ["pen", "ink"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["nowhere:order"], 2, "no module 'nowhere'"),
        (["nowhere.py:order"], 2, "no file 'nowhere.py'"),
        (["shop"], 2, "MODULE:WORKFLOW"),
        (["shop:ordr"], 2, "Its workflows: order,"),
        (["shop:number"], 2, "not a workflow"),
        (["shop:pack"], 2, "is a task"),
        (["shop:order"], 2, "missing a required argument: 'items'"),
        (["shop:order", "--input", "{"], 2, "no JSON object"),
        (["shop:order", "--input", "3"], 2, "no JSON object"),
        (["shop:order", "--input", "@missing"], 2, "No such file"),
        (["shop:order", "--input", '{"items": 3}'], 2, "argument 'items' does not fit"),
        (["shop:order", "--input", '[["a"], null, 3]'], 2, "too many positional"),
        (["shop:order", "--input", '{"itms": []}'], 2, "missing a required"),
        (["shop:order", "--input", '{"items": []}', "--id", "a\nb"], 2, "PRD004"),
        (["shop:order", "--inptu", "x"], 2, "Did you mean --input"),
    ],
)
def test_what_cannot_run_says_why(shop: Shop, argv: list[str], code: int, says: str) -> None:
    done = shop("run", *argv)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert shop.ran() == []


def test_other_input_under_a_taken_id_is_a_conflict(shop: Shop) -> None:
    shop("run", "shop:order", "--input", ORDER, "--id", "o1")
    other = shop("run", "shop:order", "--input", '{"items": []}', "--id", "o1")
    assert (other.code, other.out) == (1, "")
    assert "PRD021" in other.err
    other = shop("run", "shop:echo", "--id", "o1")
    assert other.code == 1
    assert "PRD021" in other.err


def test_a_failure_is_readable_and_escaped(shop: Shop) -> None:
    done = shop("run", "shop:broken", "--input", r'{"text": "no \u001b[31mink"}', "--id", "b1")
    assert (done.code, done.out) == (1, "")
    assert r"ValueError: no \x1b[31mink" in done.err
    assert "shop.py:" in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    again = shop("run", "shop:broken", "--id", "b1", "--debug")
    assert again.code == 1
    assert "Traceback" in again.err


def test_a_recorded_exit_does_not_leave_the_command(shop: Shop) -> None:
    done = shop("run", "shop:leaves", "--input", "[7]")
    assert done.code == 1
    assert "SystemExit" in done.err


def test_a_failed_id_can_be_started_again(shop: Shop) -> None:
    argv = ("run", "shop:broken", "--input", '["x"]', "--id", "b1")
    shop(*argv)
    shop(*argv, "--restart-failed")
    rows = shop("workflow", "list", "-A", "shop", "--json").json
    assert [row["generation"] for row in rows] == [2, 1]


def test_divergence_has_its_exit_code(shop: Shop) -> None:
    # A crash between two recorded tasks, made by hand: the same journal without its end.
    assert shop("run", "shop:changing", "--id", "c1").code == 0
    assert shop("workflow", "verify", "c1", "-A", "shop").code == 0
    (shop.directory / "changed").touch()
    done = shop("workflow", "verify", "c1", "-A", "shop")
    assert (done.code, done.out) == (4, "")
    assert "PRD030" in done.err
    assert "does not replay" in done.err


def test_a_module_that_fails_at_import_is_named(shop: Shop) -> None:
    (shop.directory / "bad_shop.py").write_text("x = 1\nraise RuntimeError('no key')\n")
    done = shop("run", "bad_shop:order")
    assert done.code == 1
    assert "RuntimeError: no key" in done.err
    assert "bad_shop.py:2" in done.err
    assert "Traceback" in shop("run", "bad_shop:order", "--debug").err
    assert "bad_shop" not in sys.modules
