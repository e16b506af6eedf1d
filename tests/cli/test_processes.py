"""The command as it is used: in processes of its own, stopped and started again."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.cli.conftest import Shop

ORDER = json.dumps({"items": ["pen", "ink", "paper"]})
LIMIT = 60


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read stderr up to a line with these words; the process blocks or ends after it."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"the process ended without saying {words!r}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_goes_on(
    shop: Shop, number: signal.Signals, code: int
) -> None:
    (shop.directory / "wait_at_ink").touch()
    process = shop.process("run", "shop:order", "--input", ORDER, "--id", "o 1")
    read_until(process, "packing ink")
    process.send_signal(number)
    read_until(process, "perdure run shop:order --id 'o 1'")  # only now the body may go on
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (code, "")
    assert err == ""
    assert shop.ran()[0] == "pen"

    (shop.directory / "wait_at_ink").unlink()
    process = shop.process("run", "shop:order", "--id", "o 1")
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert json.loads(out)["boxes"] == ["box of pen", "box of ink", "box of paper"]
    assert shop.ran().count("pen") == 1
    assert shop.ran()[-1] == "paper"


def test_a_killed_run_goes_on(shop: Shop) -> None:
    (shop.directory / "wait_at_ink").touch()
    process = shop.process("run", "shop:order", "--input", ORDER, "--id", "o1")
    read_until(process, "packing ink")
    process.kill()
    process.communicate(timeout=LIMIT)
    assert shop("workflow", "result", "o1", "-A", "shop").code == 124
    (shop.directory / "wait_at_ink").unlink()
    done = shop("run", "shop:order", "--id", "o1")
    assert done.code == 0
    assert shop.ran() == ["pen", "ink", "paper"]


def test_a_reader_that_leaves_is_no_error(shop: Shop) -> None:
    process = shop.process("doctor", "--help")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 141
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def demo(shop: Shop, *argv: str) -> tuple[int, str, str]:
    process = shop.process("demo", *argv)
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


def test_the_demo_tells_its_story_in_plain_text(shop: Shop) -> None:
    code, out, err = demo(shop)
    assert code == 0, out + err
    assert err == ""
    assert "\x1b" not in out
    assert out.count("  ok  ") == 5
    assert "NOT" not in out
    assert "cut off" in out
    assert "replayed" in out


def test_the_demo_as_data(shop: Shop, tmp_path_factory, monkeypatch) -> None:
    temporary = tmp_path_factory.mktemp("demo")
    monkeypatch.setenv("TMPDIR", str(temporary))
    # Settings of the caller must not reach the demo's own database.
    (shop.directory / "perdure.toml").write_text('name = "mine"\n')
    monkeypatch.setenv("PERDURE_DATABASE_URL", "sqlite:///mine.db")
    code, out, err = demo(shop, "--json")
    assert code == 0, out + err
    told = json.loads(out)
    first, second = told["processes"]
    assert len(first["task_results"]) == 3
    assert second["task_results"][:3] == first["task_results"]
    assert len(second["task_results"]) == 5
    assert all(claim["holds"] for claim in told["claims"])
    ran = {
        operation["key"]: (operation["first"], operation["second"])
        for operation in told["operations"]
    }
    assert ran == {
        "uuid:1": ("ran", "replayed"),
        "random:1": ("ran", "replayed"),
        "task:1": ("ran", "replayed"),
        "sleep:1": ("ran", "replayed"),
        "task:2": ("ran", "replayed"),
        "task:3": ("ran", "replayed"),
        "task:4": ("cut off", "ran"),
        "task:5": ("", "ran"),
    }
    began = [effect for effect in told["effects"] if effect["event"] == "began"]
    assert [effect["pid"] for effect in began] == [first["pid"]] * 4 + [second["pid"]] * 2
    assert len({effect["order_number"] for effect in began}) == 1
    assert list(temporary.iterdir()) == []
    assert not (shop.directory / "mine.db").exists()
