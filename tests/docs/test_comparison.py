"""What the comparison says of perdure is shown by a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ["DBOS", "Temporal", "Restate", "Absurd", "pynenc"]


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table that compares, headings left out."""
    found: list[list[str]] = []
    inside = False
    for line in (ROOT / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| | perdure |"):
            inside = True
        elif inside and line.startswith("| "):
            found.append(cells)
        elif not line.startswith("|"):
            inside = False
    return found


def test_what_it_has_is_shown_by_a_test() -> None:
    compared = rows("docs/comparison.md")
    assert len(compared) > 40
    for name, says, shown, *_ in compared:
        if says == "no":
            assert not shown, name
            continue
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
        assert named, f"{name!r} says {says!r} and names no test"
        tree = ast.parse((ROOT / named[1]).read_text("utf-8"))
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert named[2] in tests, f"{name!r} is said to be shown by {shown}, which is not there"


def test_the_readme_says_the_same() -> None:
    compared = {name: [says, *peers] for name, says, _, *peers in rows("docs/comparison.md")}
    short = rows("README.md")
    assert len(short) > 10
    for name, *cells in short:
        assert cells == compared[name], name
    assert f"| | perdure | {' | '.join(PEERS)} |" in (ROOT / "README.md").read_text("utf-8")
