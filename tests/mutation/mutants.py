"""Mutants of a source file, made by the operators of mutmut, each with one fault.

mutmut puts all mutants of a function beside it and switches between them as they are called. So it
leaves out what is decorated (a data class with all its methods, each property) and all that is
computed when a module is imported, such as the table of states; and a switch is one more frame
between the workflow and the code that looks for its line. Here each mutant is a whole source.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, takewhile
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import (
    CodePosition,
    MetadataWrapper,
    WhitespaceInclusivePositionProvider,
)
from mutmut.mutation.mutators import mutation_operators

SOURCE = Path(__file__).parents[2] / "src" / "perdure"

_NEVER_CALLS = {"TypeVar", "TypeVarTuple", "cast"}
"""They do nothing when the code runs."""


class Mutant(NamedTuple):
    """One fault.

    Attributes:
        file: below the package.
        where: qualified name of the function or class; "" for the module itself.
        was, now: the lines that differ, in one line each. Where a function has the same again,
            `now` tells which place it is.
        source: the whole file with the fault.
    """

    file: str
    where: str
    was: str
    now: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is known by."""
        return self[:4]

    def __str__(self) -> str:
        return f"{self.file}: {self.where}\n  - {self.was}\n  + {self.now}"


class _Visitor(cst.CSTVisitor):
    """Collects what may be put in the place of what."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_left_out(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(node, other) for other in operator(node)]
        return True


def _is_left_out(node: cst.CSTNode) -> bool:
    """What no run depends on: types, asserts, and prose (of which a few words are tested)."""
    match node:
        case cst.Annotation() | cst.Assert() | cst.Decorator() | cst.ImportFrom() | cst.Import():
            return True
        case cst.SimpleString() | cst.FormattedString() | cst.ConcatenatedString():
            return " " in cst.Module([]).code_for_node(node)
        case cst.Call(func=cst.Name(value=name)):
            return name in _NEVER_CALLS
        case cst.Assign(value=cst.Call(func=cst.Name(value=name))):
            return name in _NEVER_CALLS
        case cst.AnnAssign(annotation=cst.Annotation(annotation=cst.Name(value="TypeAlias"))):
            return True
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case _:
            return False


def mutants(file: str, where: str = "") -> Iterator[Mutant]:
    """All of one file, in its order.

    Args:
        where: a regular expression that the qualified name must match.
    """
    source = (SOURCE / file).read_text(encoding="utf-8")
    names = _names(source)
    sources, keys = {source}, Counter[tuple[str, ...]]()
    for changed in _changed(source):
        if changed in sources:
            continue
        sources.add(changed)
        mutant = _told(file, source, changed, names)
        keys[mutant.key] += 1
        if (count := keys[mutant.key]) > 1:
            mutant = mutant._replace(now=f"{mutant.now}  # place {count}")
        if re.match(where, mutant.where):
            yield mutant


def _changed(source: str) -> Iterator[str]:
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    module, visitor = wrapper.module, _Visitor()
    module.visit(visitor)
    ranges = wrapper.resolve(WhitespaceInclusivePositionProvider)
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]

    def offset(place: CodePosition) -> int:
        return starts[place.line - 1] + place.column

    for node, other in visitor.found:
        begin, end = offset(ranges[node].start), offset(ranges[node].end)
        if source[begin:end] == module.code_for_node(node):
            yield source[:begin] + module.code_for_node(other) + source[end:]
        else:  # a block, whose lines are indented by what it stands in; this is right and slow
            changed = module.deep_replace(node, other)
            assert isinstance(changed, cst.Module)
            yield changed.code


def _told(file: str, source: str, changed: str, names: dict[int, str]) -> Mutant:
    before, after = source.splitlines(), changed.splitlines()
    first = _same(before, after)
    last = min(_same(before[::-1], after[::-1]), min(len(before), len(after)) - first)
    was = " ".join(map(str.strip, before[first : len(before) - last]))
    now = " ".join(map(str.strip, after[first : len(after) - last]))
    return Mutant(file, names.get(first + 1, ""), was, now, changed)


def _same(one: list[str], other: list[str]) -> int:
    """How many lines are the same at the beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _names(source: str) -> dict[int, str]:
    """The innermost function or class of each line."""
    names: dict[int, str] = {}

    def note(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                last = child.end_lineno or child.lineno
                names.update(dict.fromkeys(range(child.lineno, last + 1), name))
            note(child, name)

    note(ast.parse(source), "")
    return names
