"""Size budgets: what a reader can hold in mind. Split by reason to change when one is passed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "perdure"

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
ARGUMENTS_MAX = 7

# What may be over a budget, and why: "path" for a file, "path:qualified.name" for a function, each
# with a reason that would convince a reviewer. An entry that is no longer needed fails below.
ALLOWED: dict[str, str] = {
    "app.py:Perdure.__init__": "settings of the app, all by keyword, as a user's editor shows them",
    "api/functions.py:Registered.options": "all that a start may ask, by keyword, likewise",
    "api/decorators.py:Decorators.workflow": "policies of a workflow, by keyword, likewise",
    "api/decorators.py:Decorators.task": "policies of a task, all by keyword, for the same reason",
    "api/decorators.py:Decorators.schedule": "when, what and the policy, likewise",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef):
            name = f"{prefix}{node.name}"
            if isinstance(node, Function):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def lines(node: Function) -> int:
    """Decorators not counted: they are the caller's view of the function."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def arguments(node: Function) -> int:
    """Everything that a caller can pass; `self` and `cls` are not passed."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(1 for argument in every if argument.arg not in {"self", "cls"})


def is_overload(node: Function) -> bool:
    """An overload is a signature of the function below it, which is counted once."""
    return any(ast.unparse(each).split(".")[-1] == "overload" for each in node.decorator_list)


def over_budget(path: str, source: str) -> dict[str, str]:
    """What is over a budget in one file: place -> what was found and what is allowed."""
    found: dict[str, str] = {}
    count = len(source.splitlines())
    if count > FILE_LINES_MAX:
        found[path] = f"{count} lines, at most {FILE_LINES_MAX}"
    for name, node in functions(ast.parse(source)):
        if is_overload(node):
            continue
        if lines(node) > FUNCTION_LINES_MAX:
            found[f"{path}:{name}"] = f"{lines(node)} lines, at most {FUNCTION_LINES_MAX}"
        elif arguments(node) > ARGUMENTS_MAX:
            found[f"{path}:{name}"] = f"{arguments(node)} arguments, at most {ARGUMENTS_MAX}"
    return found


def over_budget_everywhere() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        path = file.relative_to(SOURCE).as_posix()
        found |= over_budget(path, file.read_text(encoding="utf-8"))
    return found


def test_source_keeps_its_budgets() -> None:
    found = over_budget_everywhere()
    assert {place: what for place, what in found.items() if place not in ALLOWED} == {}


def test_no_allowance_outlives_its_need() -> None:
    assert set(ALLOWED) - set(over_budget_everywhere()) == set()


@pytest.mark.parametrize(
    ("source", "places"),
    [
        pytest.param("x = 1\n" * FILE_LINES_MAX, [], id="file at the limit"),
        pytest.param("x = 1\n" * (FILE_LINES_MAX + 1), ["m.py"], id="file over it"),
        pytest.param("def f():\n" + "    x = 1\n" * 69, [], id="function at the limit"),
        pytest.param(
            "class C:\n  async def f(self):\n" + "    x = 1\n" * 70,
            ["m.py:C.f"],
            id="method over it",
        ),
        pytest.param("def f(self, a, b, c, d, e, f, g): ...", [], id="self is not counted"),
        pytest.param("def f(a, b, c, d, /, e, f, *, g, h): ...", ["m.py:f"], id="eight arguments"),
        pytest.param(
            "def o():\n  if 1:\n    def i(a, b, c, d, e, f, g, h): ...", ["m.py:o.i"], id="nested"
        ),
        pytest.param(
            "@typing.overload\ndef f(a, b, c, d, e, f, g, h): ...",
            [],
            id="overloads are not counted",
        ),
    ],
)
def test_the_budgets_see_what_is_planted(source: str, places: list[str]) -> None:
    assert list(over_budget("m.py", source)) == places
