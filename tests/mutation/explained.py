"""Mutants that no test could tell from the code, each with the reason, in `explained.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.mutation.groups import Group
from tests.mutation.mutants import Mutant

FILE = Path(__file__).with_name("explained.toml")
MEMBERS = {"file", "where", "was", "now", "why"}

Key = tuple[str, str, str, str]


def read() -> dict[Key, str]:
    """The reasons by what a mutant is known by."""
    found: dict[Key, str] = {}
    for entry in tomllib.loads(FILE.read_text(encoding="utf-8")).get("mutant", []):
        if entry.keys() != MEMBERS or not entry["why"].strip():
            raise ValueError(f"{FILE.name}: expected {sorted(MEMBERS)} in {entry}")
        key = (entry["file"], entry["where"], entry["was"], entry["now"])
        if key in found:
            raise ValueError(f"{FILE.name}: twice: {key}")
        found[key] = entry["why"]
    return found


class Explanations:
    """Which were met in a run."""

    def __init__(self) -> None:
        self._reasons = read()
        self._taken: set[Key] = set()

    def take(self, mutant: Mutant) -> bool:
        """Whether this one is explained."""
        self._taken.add(mutant.key)
        return mutant.key in self._reasons

    def untaken(self, group: Group) -> list[Key]:
        """Of the files of a group: explained, and not met."""
        files = {file for file, _ in group.paths()}
        return [key for key in self._reasons if key[0] in files and key not in self._taken]
