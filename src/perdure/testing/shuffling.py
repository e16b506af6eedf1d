"""Makes the order of sets visible: a copy of a workflow function that iterates them in any order.

The order of a set of text changes with the hash seed of each process, so a workflow that goes by it
replays well in the process that ran it, and not after a restart. In the copy every set is given in
another order each time, so that the replays of a test see what those of other processes would.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import random
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any, cast

_HELPER = "__perdure_in_any_order__"
_POP = "__perdure_any_one_of__"
_OUTER = "__perdure_outer__"
_COPY = "__perdure_copy__"
_ORDERED_BY = frozenset({"list", "tuple", "enumerate", "iter", "zip", "map", "filter", "reversed"})
"""Builtins that keep the order of what they are given."""
_ORDERED_BY_KEY = frozenset({"sorted", "min", "max"})
"""Builtins that keep it among what their `key=` takes for equal."""
_METHODS = frozenset(
    {
        *("join", "extend", "chain", "from_iterable", "fromkeys", "starmap"),
        *("map", "map_async", "map_as_completed"),
    }
)
_STABLE = (int, type(None))
"""Their hashes are the same in each process."""


class SetOrders:
    """Gives sets in another order each time.

    Attributes:
        lines: where that was done.
        only: the lines where it is done; None for all of them.
    """

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}
        self.only: frozenset[str] | None = None
        self._chance = random.Random(0)  # noqa: S311 - the same in each run

    def given(self, value: object, line: str) -> object:
        """The value, or its items in any order if they have none of their own."""
        items = self._unordered(value, line)
        if items is None:
            return value
        self._chance.shuffle(items)
        return items

    def popped(self, value: Any, line: str) -> object:
        """What `value.pop()` gives, or any item if they have no order of their own."""
        items = self._unordered(value, line)
        if items is None:
            return value.pop()
        item = self._chance.choice(items)
        value.remove(item)
        return item

    def _unordered(self, value: object, line: str) -> list[object] | None:
        """The items of a set whose order may be another one elsewhere, and is at this line."""
        is_shuffled = self.only is None or line in self.only
        if not is_shuffled or not isinstance(value, (set, frozenset)):
            return None
        items = list(cast("set[object]", value))
        if len(items) < 2 or all(isinstance(each, _STABLE) for each in items):
            return None
        self.lines[line] = None
        return items

    def copy_of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with sets in any order; itself where its source cannot be had."""
        if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
            return function
        try:
            code = _rewritten(function)
        except (OSError, SyntaxError, ValueError):
            return function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        file = function.__code__.co_filename

        def helper(value: object, number: int) -> object:
            return self.given(value, f"{file}:{number}")

        def pop(value: object, number: int) -> object:
            return self.popped(value, f"{file}:{number}")

        cells[_HELPER], cells[_POP] = CellType(helper), CellType(pop)
        made = FunctionType(
            code,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(cells[name] for name in code.co_freevars),
        )
        made.__kwdefaults__ = function.__kwdefaults__
        return functools.update_wrapper(made, function)


class _Rewriter(ast.NodeTransformer):
    """Puts the helper around whatever is iterated."""

    def _wrapped(self, node: ast.expr, helper: str = _HELPER) -> ast.expr:
        line = ast.Constant(node.lineno)
        call = ast.Call(ast.Name(helper, ast.Load()), [node, line], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def visit_For(self, node: ast.For) -> ast.AST:
        """`for x in s`."""
        self.generic_visit(node)
        node.iter = self._wrapped(node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """`[... for x in s]`."""
        self.generic_visit(node)
        if not node.is_async:
            node.iter = self._wrapped(node.iter)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        """`f(*s)` and `[*s]`."""
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = self._wrapped(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """`a, b = s`."""
        self.generic_visit(node)
        if any(isinstance(each, (ast.Tuple, ast.List)) for each in node.targets):
            node.value = self._wrapped(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`list(s)`, `sorted(s, key=...)`, `", ".join(s)`, `s.pop()` and the like."""
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr == "pop":
            bare = not node.args and not node.keywords
            return self._wrapped(called.value, _POP) if bare else node
        kept = _ORDERED_BY | _ORDERED_BY_KEY if node.keywords else _ORDERED_BY
        by_name = isinstance(called, ast.Name) and called.id in kept
        if by_name or (isinstance(called, ast.Attribute) and called.attr in _METHODS):
            node.args = [
                each if isinstance(each, ast.Starred) else self._wrapped(each) for each in node.args
            ]
        return node


def _rewritten(function: FunctionType) -> CodeType:
    """The code of the copy. Lines and free names are those of the function, and the helper.

    Raises:
        OSError, SyntaxError: there is no source that could be read.
        ValueError: the source is not one function.
    """
    old = function.__code__
    lines, first = inspect.getsourcelines(function)
    source = "".join(lines)
    is_indented = source[:1].isspace()
    tree = ast.parse("if 1:\n" + source if is_indented else source)
    body = tree.body[0].body if isinstance(tree.body[0], ast.If) else tree.body
    [node] = body
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise ValueError("it is no function of its own")  # noqa: TRY004 - told to `copy_of` alone
    ast.increment_lineno(node, first - (2 if is_indented else 1))
    node.decorator_list = []
    _Rewriter().generic_visit(node)
    node.name = _COPY  # its own name in its code means what it means there: the workflow
    names = [*old.co_freevars, _HELPER, _POP]
    outer = ast.parse(f"def {_OUTER}({', '.join(names)}): pass").body[0]
    if not isinstance(outer, ast.FunctionDef):
        raise ValueError("what was parsed is a function")  # noqa: TRY004 - as above
    outer.body = [node]
    module = ast.fix_missing_locations(ast.Module([outer], []))
    flags = old.co_flags & __future__.annotations.compiler_flag
    code = compile(module, old.co_filename, "exec", flags=flags, dont_inherit=True)
    inner = _nested(_nested(code, _OUTER), _COPY)
    return inner.replace(co_name=old.co_name, co_qualname=old.co_qualname)


def _nested(code: CodeType, name: str) -> CodeType:
    return next(
        each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name
    )
