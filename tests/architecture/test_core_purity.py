"""The core calls no builtin that reads the world or differs between processes.

Imports are held by import-linter and calls of imported names by `src/perdure/core/ruff.toml`; what
needs no import at all is held here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "perdure"

BANNED = {
    "__import__": "imports are static, so that the contracts see them",
    "breakpoint": "the core has no input",
    "eval": "data is never code",
    "exec": "data is never code",
    "hash": "differs between processes; use hashlib.blake2b",
    "id": "is an address; name things by where they stand",
    "input": "the core has no input",
    "open": "the core has no files",
    "print": "the core has no output",
}


def banned_calls(source: str) -> list[str]:
    return [
        f"line {node.lineno}: {node.func.id}() {BANNED[node.func.id]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED
    ]


@pytest.mark.parametrize(
    "path", sorted((SOURCE / "core").rglob("*.py")), ids=lambda path: path.stem
)
def test_the_core_calls_no_impure_builtin(path: Path) -> None:
    assert banned_calls(path.read_text(encoding="utf-8")) == []


def test_planted_calls_are_seen() -> None:
    assert len(banned_calls("def f(id):\n    return open('x'), hash(id), x.open()")) == 2
