"""The tagged form: JSON that says by itself what it holds. It must not know any annotation.

A body in tagged form starts with `{"$`: `{"$":"v","v":<node>}`. In a node, an object with the key
`$` stands for what JSON lacks: `{"$":"set","v":[...]}`, `{"$":"enum","t":"shop.Colour","v":"RED"}`,
`{"$":"object","t":"shop.Order","v":{...}}`, `{"$":"dict","v":[[key,value],...]}` and the scalars.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, Flag
from math import isfinite
from operator import itemgetter
from typing import Any, ClassVar, Final, cast

import msgspec

from perdure.values.equality import step_to
from perdure.values.limits import DEPTH_MAX, Refusal, too_deep
from perdure.values.plain import INT_MAX, INT_MIN
from perdure.values.registry import TypeRegistry
from perdure.values.shapes import PLAIN, Shape, shape_of, type_name

OPENING: Final = b'{"$'
"""How every tagged body starts, and no other body does."""

_MARK: Final = "$"

to_json: Final = msgspec.json.Encoder().encode
from_json: Final = msgspec.json.Decoder().decode


def wrap(node: object) -> dict[str, object]:
    """Make a body of a node, one that starts with `OPENING`."""
    return {_MARK: "v", "v": node}


class Writer:
    """Writes one value as a JSON tree. `tagged` tells afterwards whether it holds any tag."""

    __slots__ = ("_registry", "tagged")

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self.tagged = False

    def node(self, value: object, depth: int = 0) -> object:
        """The tree of `value`, a fresh copy; `depth` is the number of containers around it.

        Raises:
            Refusal: the value or something inside it cannot be recorded.
        """
        write = self._WRITERS.get(type(value))
        return write(self, value, depth) if write else self._object(value, depth)

    def _constant(self, value: object, _depth: int) -> object:
        return value

    def _text(self, value: str, _depth: int) -> str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise Refusal(
                    f"a str has the lone surrogate {value[error.start]!r} at index {error.start}, "
                    "which UTF-8 cannot hold. Record it as bytes: text.encode(errors='...')"
                ) from None
        return value

    def _int(self, value: int, depth: int) -> object:
        return value if INT_MIN <= value <= INT_MAX else self._scalar(value, depth)

    def _float(self, value: float, depth: int) -> object:
        return value if isfinite(value) else self._scalar(value, depth)

    def _scalar(self, value: object, depth: int) -> object:
        row = self._registry.extension_for(type(value))
        assert row is not None
        return self._tag(row.tag, self.node(row.to_plain(value), _deeper(depth)))

    def _list(self, value: list[object] | tuple[object, ...], depth: int) -> list[object]:
        depth = _deeper(depth)
        nodes: list[object] = []
        try:
            for item in value:
                nodes.append(self.node(item, depth))  # noqa: PERF401 - len(nodes) is the path
        except Refusal as refusal:
            refusal.inside(f"[{len(nodes)}]")
            raise
        return nodes

    def _tuple(self, value: tuple[object, ...], depth: int) -> object:
        return self._tag("tuple", self._list(value, depth))

    def _set(self, value: set[object] | frozenset[object], depth: int) -> object:
        # Sorted, because the order of a set differs from process to process.
        nodes = sorted(self._list(cast("Any", value), depth), key=to_json)
        return self._tag(type(value).__name__, nodes)

    def _dict(self, value: dict[object, object], depth: int) -> object:
        depth = _deeper(depth)
        nodes: dict[str, object] = {}
        for key, item in value.items():
            if type(key) is not str or key[:1] == _MARK:
                break
            try:
                nodes[self._text(key, depth)] = self.node(item, depth)
            except Refusal as refusal:
                refusal.inside(step_to(key))
                raise
        else:
            return nodes
        return self._tag("dict", [self._pair(*pair, depth) for pair in value.items()])

    def _pair(self, key: object, item: object, depth: int) -> list[object]:
        try:
            return [self.node(key, depth), self.node(item, depth)]
        except Refusal as refusal:
            refusal.inside(step_to(key))
            raise

    def _object(self, value: object, depth: int) -> object:
        cls = type(value)
        if self._registry.extension_for(cls):
            return self._scalar(value, depth)
        name = self._registry.name_of(cls)
        if name is None or isinstance(value, BaseException):
            raise _unknown(cls)
        if isinstance(value, Enum):
            named = value._name_ in type(value).__members__
            return self._tag("enum", value._name_ if named else value._value_, name)
        shape = shape_of(cls) or PLAIN
        return self._tag("object", self._dict(cast("Any", shape.take_apart(value)), depth), name)

    def _tag(self, tag: str, node: object, name: str | None = None) -> object:
        self.tagged = True
        if name is None:
            return {_MARK: tag, "v": node}
        return {_MARK: tag, "t": name, "v": node}

    _WRITERS: ClassVar[dict[type, Callable[[Writer, Any, int], object]]] = {
        type(None): _constant,
        bool: _constant,
        str: _text,
        int: _int,
        float: _float,
        list: _list,
        tuple: _tuple,
        dict: _dict,
        set: _set,
        frozenset: _set,
    }


def _unknown(cls: type[Any]) -> Refusal:
    return Refusal(
        f"a value of type {type_name(cls)!r} cannot be recorded, because it could not be "
        f"made again on replay. {_advice(cls)}"
    )


def _advice(cls: type[Any]) -> str:
    if issubclass(cls, Enum) or shape_of(cls):
        return f"Register the class: app.register({cls.__name__})"
    for base in (bool, str, int, float, bytes, dict, list, tuple, set, frozenset):
        if issubclass(cls, base):
            return f"Convert it: {base.__name__}(value)"
    if issubclass(cls, BaseException):
        return "Raise it, or record str(error)"
    return "Return plain data that describes it, such as an id, a dict or a dataclass"


def _deeper(depth: int) -> int:
    if depth >= DEPTH_MAX:
        raise too_deep()
    return depth + 1


def read(body: bytes, registry: TypeRegistry) -> Any:
    """The value of a body in tagged or plain form, made of fresh objects.

    Raises:
        Refusal: a tag or class is unknown, or a node is not as `Writer` makes it.
        Exception: anything that a parser or an extension raises on damaged data.
    """
    tree = from_json(body)
    if not body.startswith(OPENING):
        return tree
    if not isinstance(tree, dict) or tree.keys() != {_MARK, "v"} or tree[_MARK] != "v":
        raise Refusal("the record starts like a tagged value but is none")
    return _Reader(registry).node(tree["v"])


class _Reader:
    """Reads one tree. Recursion is bounded because the depth of the text was checked before."""

    __slots__ = ("_registry",)

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry

    def node(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return [self.node(item) for item in cast("list[object]", tree)]
        if not isinstance(tree, dict):
            return tree
        fields = cast("dict[str, Any]", tree)
        if _MARK in fields:
            return self._tagged(fields)
        return {key: self.node(item) for key, item in fields.items()}

    def _tagged(self, fields: dict[str, Any]) -> Any:
        tag, plain = itemgetter(_MARK, "v")(fields)
        if tag == "object":
            cls = self._class(fields["t"])
            return _shape(cls).rebuild(cls, self.node(plain))
        if tag == "enum":
            return _member(self._class(fields["t"]), plain)
        if tag == "dict":
            return self._dict(plain)
        value = self.node(plain)
        if build := _BUILDERS.get(tag):
            return build(value)
        if row := self._registry.extension_of(tag):
            return row.from_plain(value)
        raise Refusal(
            f"the tag {tag!r} is unknown here. Register the extension that wrote it: "
            f"register_extension(cls, {tag!r}, ...)"
        )

    def _dict(self, pairs: list[list[Any]]) -> dict[Any, Any]:
        result = {self.node(key): self.node(item) for key, item in pairs}
        if len(result) != len(pairs):
            raise Refusal("a recorded dict has one key twice")
        return result

    def _class(self, name: str) -> type:
        cls = self._registry.find(name)
        if cls is None:
            short = name.rpartition(".")[2]
            raise Refusal(
                f"the record holds a value of the class {name!r}, which this app does not know. "
                f"Register it before it is read: app.register({short}) "
                f"(or app.register({short}, name={name!r}) if it was moved or renamed)"
            )
        return cls


def _shape(cls: type[Any]) -> Shape:
    if issubclass(cls, (BaseException, Enum)):
        raise Refusal(f"the class {type_name(cls)!r} has no fields to be restored")
    return shape_of(cls) or PLAIN


def _member(cls: type[Any], plain: Any) -> object:
    if not issubclass(cls, Enum):
        raise Refusal(f"the class {type_name(cls)!r} is no longer an Enum")
    if isinstance(plain, str):
        if plain not in cls.__members__:
            raise Refusal(f"the Enum {type_name(cls)!r} has no member {plain!r} any more")
        return cls.__members__[plain]
    if not issubclass(cls, Flag):
        raise Refusal(f"a member of {type_name(cls)!r} is recorded by its name, not otherwise")
    return cls(plain)


_BUILDERS: Final[dict[str, Callable[[Any], object]]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
