"""Hostile inputs from good ones: bytes changed at random, and JSON trees changed with a purpose."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.guard import BAIT

SIZE_MAX = 32 * 1024
"""Bytes of a made input. Larger ones are bombs of their target: they are too slow to be many."""

TAGS = (
    *("v", "tuple", "set", "frozenset", "dict", "enum", "object", "int", "float", "complex"),
    *("decimal", "uuid", "bytes", "bytearray", "datetime", "date", "time", "timedelta"),
    *("path", "path.posix", "path.windows", "invocation", "nope"),
)
NAMES = (
    *("os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "posix.system"),
    *("builtins.object", "builtins.type", "importlib.import_module", f"{BAIT}.Thing", BAIT),
    *("../../etc/passwd", "Europe/Berlin", "Europe.os", "antigravity", "this", "No/Where"),
)
ATOMS: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400),
    *(0.0, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        "\x00",
        "\ud800",
        "\U0001f600",
        "\u202e",
        "$",
        "__class__",
        "__dict__",
        "%s%n",
        "x" * 9_000,
    ),
    *([], {}, [[]], {"$": "v", "v": 1}, {"": {}}),
)
_BYTES = (b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b'"', b"\\", b"\\u0000", b"\\ud800")
_BITS = (b"[", b"]", b"{", b"}", b",", b":", b'{"$', b"NaN", b"1e999", b"-", b"0x", b"9" * 300)


class Mutator:
    """A stream of inputs that depends on nothing but its seed, its examples and its words."""

    def __init__(self, seed: str, examples: Sequence[bytes], words: Sequence[str]) -> None:
        self._rng = random.Random(seed)
        self._examples = list(examples)
        self._trees = [tree for each in self._examples if (tree := _tree(each)) is not None]
        self._words = (*words, *NAMES)

    def next(self) -> bytes:
        """Another input."""
        rng = self._rng
        grows = self._trees and rng.random() < 0.6
        body = self._grown() if grows else rng.choice(self._examples)
        if rng.random() < 0.5:
            for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
                body = rng.choice(_OPERATIONS)(self, body)
        return body[:SIZE_MAX]

    # --- bytes ----------------------------------------------------------------------------------

    def _place(self, body: bytes) -> int:
        return self._rng.randrange(len(body) + 1)

    def _flip(self, body: bytes) -> bytes:
        if not body:
            return b"\x00"
        at = self._rng.randrange(len(body))
        return body[:at] + bytes([body[at] ^ 1 << self._rng.randrange(8)]) + body[at + 1 :]

    def _insert(self, body: bytes) -> bytes:
        at = self._place(body)
        word = self._rng.choice(self._words).encode("utf-8", "surrogatepass")
        return body[:at] + self._rng.choice((*_BYTES, *_BITS, word)) + body[at:]

    def _delete(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + body[at + self._rng.choice((1, 1, 2, 8, 64)) :]

    def _cut(self, body: bytes) -> bytes:
        return body[: self._place(body)]

    def _repeat(self, body: bytes) -> bytes:
        at = self._place(body)
        piece = body[at : at + self._rng.choice((1, 2, 8, 32))]
        return body[:at] + piece * self._rng.choice((2, 3, 70, 300)) + body[at:]

    def _splice(self, body: bytes) -> bytes:
        other = self._rng.choice(self._examples)
        return body[: self._place(body)] + other[self._place(other) :]

    def _overwrite(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + self._rng.randbytes(self._rng.choice((1, 2, 4, 8))) + body[at + 4 :]

    # --- trees ----------------------------------------------------------------------------------

    def _grown(self) -> bytes:
        """An example with some of its nodes changed, as JSON."""
        tree = [
            json.loads(json.dumps(self._rng.choice(self._trees)))
        ]  # in a list: a root to change
        for _ in range(self._rng.choice((1, 1, 2, 3, 8))):
            holder, place = self._rng.choice(_places(tree))
            change = self._rng.choice(_CHANGES)
            holder[place] = change(self, holder[place])
        text = json.dumps(tree[0], separators=self._rng.choice(((",", ":"), (", ", ": "))))
        return text.encode("utf-8", "surrogatepass")

    def _atom(self, node: Any) -> Any:
        return copy.deepcopy(
            self._rng.choice((*ATOMS, *self._words))
        )  # what is put in may be changed

    def _other(self, node: Any) -> Any:
        """A piece of another example."""
        tree = [self._rng.choice(self._trees)]
        holder, place = self._rng.choice(_places(tree))
        return json.loads(json.dumps(holder[place]))

    def _wrapped(self, node: Any) -> Any:
        for _ in range(self._rng.choice((1, 1, 2, 20, 70, 200))):
            node = [node] if self._rng.random() < 0.7 else {"a": node}
        return node

    def _tagged(self, node: Any) -> Any:
        tag = self._rng.choice(TAGS)
        tree = {"$": tag, "v": node}
        if tag in {"enum", "object"} or self._rng.random() < 0.1:
            tree["t"] = self._rng.choice(self._words)
        return tree

    def _shuffled(self, node: Any) -> Any:
        if isinstance(node, list):
            return self._rng.sample(node, len(node)) + node[: self._rng.choice((0, 1))]
        if isinstance(node, dict) and node:
            keys = list(node)
            lost = self._rng.choice(keys)
            renamed = self._rng.choice((*keys, "$", "t", "v", *self._words[:20]))
            return {(renamed if key == lost else key): value for key, value in node.items()}
        return [node, node]

    def _counted(self, node: Any) -> Any:
        if isinstance(node, bool) or not isinstance(node, int):
            return self._rng.choice((-1, 0, 1, 255, 65_536))
        return self._rng.choice((node + 1, node - 1, -node, node * 10**18, float(node % 2**60) / 3))


Change = Callable[[Mutator, Any], Any]
_OPERATIONS: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    Mutator._flip,
    Mutator._insert,
    Mutator._delete,
    Mutator._cut,
    Mutator._repeat,
    Mutator._splice,
    Mutator._overwrite,
)
_CHANGES: tuple[Change, ...] = (
    Mutator._atom,
    Mutator._atom,
    Mutator._other,
    Mutator._wrapped,
    Mutator._tagged,
    Mutator._shuffled,
    Mutator._counted,
)


def _tree(body: bytes) -> Any | None:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _places(tree: list[Any]) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a tree, the outermost first."""
    found: list[tuple[Any, Any]] = []
    pending: list[Any] = [tree]
    for holder in pending:  # it grows while it is walked
        for place in range(len(holder)) if isinstance(holder, list) else list(holder):
            found.append((holder, place))
            if isinstance(holder[place], (list, dict)):
                pending.append(holder[place])
    return found
