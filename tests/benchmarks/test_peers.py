"""The peers' side of the benchmarks, with programs of our own in place of any peer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import asked_peers, parser
from benchmarks.backends import opened
from benchmarks.bench import Bench, Figures, Work
from benchmarks.peers import common, environments
from benchmarks.peers.catalogue import NAMES, PEERS, Peer
from benchmarks.peers.environments import DONE, UnavailableError, python_of
from benchmarks.peers.opening import Asked, opened_peers
from benchmarks.peers.side import PeerSide, figures_of
from benchmarks.processes import until
from benchmarks.runner import run_all
from benchmarks.sizes import FULL, SMALLEST
from benchmarks.works.all import WORKS

HERE = Path(environments.__file__).parent


class Scripted(PeerSide):
    """A peer whose program is a line of Python."""

    def __init__(self, line: str) -> None:
        peer = Peer(name="scripted", store="nowhere", durability="none", concurrency=1)
        super().__init__(peer, Path(sys.executable), SMALLEST)
        self._line = line

    def command(self, work: str, folder: Path, url: str) -> list[str]:
        return [sys.executable, "-c", self._line, work]


@pytest.mark.parametrize(
    ("words", "names"), [([], ()), (["--peers"], NAMES), (["--peers", "dbos"], ["dbos"])]
)
def test_peers_are_measured_when_asked_for(words: list[str], names: object) -> None:
    assert asked_peers(parser().parse_args(words)).names == names


def test_unknown_peer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--peers", "nobody"])
    assert "'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_each_peer_has_pinned_packages_and_a_program(name: str) -> None:
    pins = (HERE / f"{name}.txt").read_text().split()
    assert pins
    assert all("==" in pin for pin in pins)
    program = HERE / f"run_{name}.py"
    compile(program.read_text(), program.name, "exec")


def test_works_and_counts_of_peers_are_those_of_perdure_or_less() -> None:
    known = {work.name for work in WORKS}
    for peer in PEERS:
        assert known.issuperset(peer.works)
        assert set(peer.most) <= set(peer.works)
        assert all(0 < peer.count(work, FULL) <= 2_000 for work in peer.works)
        assert peer.durability


def test_environment_that_fits_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []

    def run(command: list[str], what: str) -> None:
        commands.append(command[2])
        (tmp_path / "dbos" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dbos" / "bin" / "python").touch()

    monkeypatch.setattr(environments, "run", run)
    made = [python_of("dbos", tmp_path) for _ in range(2)]
    assert commands == ["venv", "pip"]
    assert made == [tmp_path / "dbos" / "bin" / "python"] * 2
    (tmp_path / "dbos" / DONE).write_text("other pins")
    python_of("dbos", tmp_path)
    assert commands == ["venv", "pip"] * 2


def test_peer_that_cannot_be_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    asked = Asked(names=["dbos"], cache=tmp_path, python=tmp_path / "no-python")
    sides, missing = opened_peers(asked, SMALLEST, None)
    assert sides == []
    on_sqlite, on_postgres = missing
    assert on_sqlite.startswith("dbos sqlite is not measured: no environment for dbos: ")
    assert "no-python" in on_sqlite
    assert on_postgres == (
        "dbos postgres is not measured: there is no PostgreSQL; add --backend postgres"
    )
    with opened(["memory"], SMALLEST) as (benches, _):
        results = run_all(benches, [], 1, after_each=lambda _: None, missing=missing)
    assert results.failures == missing


def test_reason_is_the_end_of_what_was_written() -> None:
    script = "import sys; sys.exit('No matching distribution')"
    with pytest.raises(UnavailableError, match="it failed: No matching distribution"):
        environments.run([sys.executable, "-c", script], "it failed")


def test_peers_take_turns_with_perdure_and_do_their_works_only() -> None:
    ran: list[str] = []

    def run(bench: Bench) -> Figures:
        ran.append(bench.label)
        return {"figure": 1.0}

    works = [Work(name=name, title=name, run=run) for name in ("tasks", "draws")]
    peer = Scripted("import sys; print('chatter'); print('{\"figure\": 2}')")
    with opened(["memory"], SMALLEST) as (benches, _):
        results = run_all([*benches, peer], works, 2, after_each=lambda _: None)
    assert results.failures == []
    assert ran == ["memory"] * 4
    assert results.runs["scripted nowhere"] == {"tasks": [{"figure": 2.0}] * 2}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import sys; sys.exit('no such queue')", "It ended with 1: no such queue"),
        ("print('hello')", "It should have printed figures as JSON, and printed: 'hello'"),
    ],
)
def test_peer_that_fails_is_told(line: str, reason: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        Scripted(line).measure("tasks")
    assert str(caught.value).strip() == reason


def test_nothing_of_a_peer_is_left(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    # A child that holds a file open for as long as it lives would leave the pipe open.
    line = (
        "import os, subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'],"
        " stdout=subprocess.DEVNULL);"
        f"open({str(mark)!r}, 'w').write(str(child.pid)); print('{{}}', flush=True); os._exit(0)"
    )
    assert Scripted(line).measure("tasks") == {}
    stat = Path(f"/proc/{mark.read_text()}/stat")

    def is_gone() -> bool:
        try:
            return stat.read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
        except (FileNotFoundError, ProcessLookupError):
            return True

    until(is_gone, "the killed child is gone")


def test_programs_share_options_and_figures(tmp_path: Path) -> None:
    words = ["resume", "--folder", str(tmp_path), "--count", "5", "--concurrency", "2"]
    options = common.arguments(words)
    again = common.arguments(common.call_of("module", options, "record")[3:])
    assert (again.role, again.count, again.folder) == ("record", 5, tmp_path)
    figures = {
        **common.sequence(10, 2.0),
        **common.many(10, 2.0),
        **common.replayed(10, 2.0),
        **common.latencies([0.001, 0.002, 0.003]),
    }
    assert figures["tasks_per_s"] == 5
    assert figures["results_per_s"] == 25
    assert figures["seconds_10"] == 2
    assert figures["idle_p50_ms"] == 2
    assert figures_of("chatter\n" + json.dumps(figures)) == figures
