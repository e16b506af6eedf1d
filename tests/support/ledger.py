"""Lines of a ledger: what a campaign was, on which commit, and what came of it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commit() -> str:
    """The commit of this tree, with a mark if the tree differs from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def append(ledger: Path, what: str, line: Mapping[str, object]) -> None:
    """Add a line of JSON; `docs/proof/ledger.md` tells what its members mean."""
    whole = {"what": what, "commit": commit(), "python": platform.python_version(), **line}
    with ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps(whole) + "\n")
