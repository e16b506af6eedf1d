"""What a name in a database can reach: registered classes and those derived from them."""

import ast
import dataclasses
import importlib.machinery
import pathlib
import subprocess
import sys
import types
import uuid
from typing import Any

import pytest

import perdure.values
from perdure.errors import DeserializationError, PerdureError, RegistrationError, SerializationError
from perdure.values import TypeRegistry, codec_for, main_module_name, stable_name
from tests.values.samples import Colour, Pair, Point, Point3


def test_names_and_aliases():
    registry = TypeRegistry()
    registry.register(Point, "shop.Spot")
    registry.register(Point, "shop.Point")
    registry.register(Point, "shop.Point")
    assert registry.name_of(Point) == "shop.Point"
    assert registry.find("shop.Spot") is registry.find("shop.Point") is Point
    assert registry.name_of(Point3) == registry.name_of(Point3) == stable_name(Point3)
    assert registry.find(stable_name(Point3)) is Point3
    assert registry.name_of(Colour) is None
    assert registry.find("nothing") is None
    body = codec_for(Any, registry).encode(Point(1), "x")
    assert b'"shop.Point"' in body
    codec_for(Point, registry)  # walking an annotation does not rename it
    assert registry.name_of(Point) == "shop.Point"


def test_one_name_one_class():
    registry = TypeRegistry()
    registry.register(Point, "p")
    with pytest.raises(RegistrationError, match=r"'p' belongs to .*Point"):
        registry.register(Pair, "p")
    with pytest.raises(RegistrationError, match="takes a class"):
        registry.register(Point(1))  # type: ignore[arg-type]
    registry.register_extension(Point, "point", str, lambda p: p)
    with pytest.raises(RegistrationError, match="'point' belongs to"):
        registry.register_extension(Pair, "point", str, lambda p: p)
    for tag in ("set", "uuid", "Nope", "", "$x"):
        with pytest.raises(RegistrationError):
            registry.register_extension(Pair, tag, str, lambda p: p)


def test_builtins_need_no_registration():
    registry = TypeRegistry()
    for cls in (object, dict, ValueError, Exception):
        registry.register(cls)
        assert registry.name_of(cls) is None
    with pytest.raises(SerializationError):
        codec_for(Any, registry).encode(Point(1), "x")


def test_a_class_defined_again_replaces_its_older_self():
    def define():
        @dataclasses.dataclass
        class Cell:
            x: int

        return Cell

    registry, old, new = TypeRegistry(), define(), define()
    registry.register(old)
    registry.register(new)
    codec = codec_for(Any, registry)
    assert type(codec.encode_and_decode(new(1), "x")[1]) is new
    with pytest.raises(SerializationError):
        codec.encode(old(1), "x")


def test_main_is_named_by_its_file(monkeypatch):
    module = types.ModuleType("__main__")
    module.__file__ = "/somewhere/shop.py"
    monkeypatch.setitem(sys.modules, "__main__", module)
    cls = type("Order", (), {"__module__": "__main__"})
    assert stable_name(cls) == "shop.Order"
    del module.__file__
    assert stable_name(cls) == "__main__.Order"


@pytest.mark.parametrize(
    ("spec", "file", "expected"),
    [
        ("shop.script", "/somewhere/else.py", "shop.script"),
        ("shop.__main__", "/somewhere/shop/__main__.py", "shop"),
        ("__main__.shop", "/somewhere/shop.py", "__main__.shop"),
        ("__main__", "/somewhere/folder.py", "folder"),
        (None, "/somewhere/shop.tar.py", "shop.tar"),
        (None, None, "__main__"),
        ("__main__", "", "__main__"),
    ],
)
@pytest.mark.parametrize("called", ["__main__", "__mp_main__"])
def test_how_a_script_is_called_when_it_is_imported(monkeypatch, called, spec, file, expected):
    for each in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, each, types.ModuleType(each))
    module = sys.modules[called]
    if spec is not None:
        module.__spec__ = importlib.machinery.ModuleSpec(spec, None)
    if file is not None:
        module.__file__ = file
    assert main_module_name() == expected
    assert stable_name(type("Order", (), {"__module__": called})) == f"{expected}.Order"
    assert stable_name(type("Order", (), {"__module__": "shop.orders"})) == "shop.orders.Order"


def test_a_main_module_that_tells_nothing_and_no_other():
    nothing = types.ModuleType("__main__")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", nothing)
        patch.delitem(sys.modules, "__mp_main__", raising=False)
        assert main_module_name() == "__main__"
        del nothing.__spec__
        assert main_module_name() == "__main__"


STRUCTURE = ["v", "tuple", "set", "frozenset", "dict", "enum", "object"]


@pytest.mark.parametrize("tag", [*STRUCTURE, "Nope", "nOpe", "", "$x", "9a", "-a", "a b", "a" * 65])
def test_tags_that_cannot_be_had(tag):
    with pytest.raises(RegistrationError) as caught:
        TypeRegistry().register_extension(Point, tag, str, lambda p: p)
    assert str(caught.value) == (
        f"{tag!r} cannot be the tag of {Point!r}. Use lower-case letters, digits and '.-_', "
        "and none of dict, enum, frozenset, object, set, tuple, v"
    )


@pytest.mark.parametrize("tag", ["a", "a-b_c.d9", "a" * 64, "vv"])
def test_tags_that_can_be_had(tag):
    registry = TypeRegistry()
    for _ in range(2):  # and again by the same class
        registry.register_extension(Point, tag, lambda p: p.x, Point)
    row = registry.extension_of(tag)
    assert row is registry.extension_for(Point)
    assert row is not None
    assert (row.cls, row.tag, row.to_plain(Point(3)), row.from_plain(4)) == (
        Point,
        tag,
        3,
        Point(4),
    )


def test_what_is_taken_is_told():
    registry = TypeRegistry()
    registry.register(Point, "p")
    for act, told in [
        (
            lambda: registry.register(Pair, "p"),
            (
                f"the name 'p' belongs to {Point!r} already, so {Pair!r} cannot have it. "
                "Pass another one: register(cls, name=...)"
            ),
        ),
        (
            lambda: registry.register("Point"),  # type: ignore[arg-type]
            "register() takes a class, got 'Point'. Pass the class itself",
        ),
        (
            lambda: registry.register_extension(Point, "uuid", str, lambda p: p),
            "the tag 'uuid' belongs to <class 'uuid.UUID'>. Choose another",
        ),
    ]:
        with pytest.raises(RegistrationError) as caught:
            act()
        assert str(caught.value) == told


def test_a_row_is_of_its_class_and_of_those_derived_from_it():
    registry = TypeRegistry()
    assert registry.extension_for(Point) is None
    assert registry.extension_of("point") is None
    registry.register_extension(Point, "point", str, lambda p: p)
    assert registry.extension_for(Point3) is registry.extension_for(Point) is not None
    assert registry.extension_for(Pair) is None
    registry.register_extension(object, "anything", str, lambda p: p)
    assert getattr(registry.extension_for(Pair), "tag", None) == "anything"
    assert getattr(registry.extension_for(Point3), "tag", None) == "point"
    assert getattr(registry.extension_for(uuid.UUID), "tag", None) == "uuid"


def test_each_derived_class_is_looked_at_once_however_many_ways_lead_to_it(monkeypatch):
    class Base:
        pass

    class First(Base):
        pass

    class Second(Base):
        pass

    registry = TypeRegistry()
    registry.register(Base)
    registry.register(First)
    assert registry.find(stable_name(Second)) is Second
    top: type = Base
    for number in range(10):  # 2**10 ways from the first to the last
        left = type(f"Left{number}", (top,), {})
        right = type(f"Right{number}", (top,), {})
        top = type(f"Both{number}", (left, right), {"__module__": "shop"})
    seen: list[type] = []

    def noting(cls):
        seen.append(cls)
        return stable_name(cls)

    monkeypatch.setattr("perdure.values.registry.stable_name", noting)
    assert registry.find("shop.Both9") is top
    assert len(seen) == len(set(seen)) > 30


def test_a_name_of_a_class_defined_again_is_of_its_latest_self():
    def define():
        class Order(Point):
            pass

        return Order

    registry = TypeRegistry()
    registry.register(Point)
    kept, latest = define(), define()
    assert stable_name(kept) == stable_name(latest)
    assert registry.find(stable_name(kept)) is latest


def test_errors_of_ours_are_known_and_others_are_not():
    registry = TypeRegistry()
    assert registry.find("perdure.errors.TaskError") is not None
    assert registry.name_of(PerdureError) == "perdure.errors.PerdureError"
    for name in (
        "builtins.eval",
        "os.system",
        "subprocess.Popen",
        "builtins.dict",
        "perdure.values.TypeRegistry",
    ):
        assert registry.find(name) is None
        for tag in ("object", "enum"):
            with pytest.raises(DeserializationError, match=r"app\.register\("):
                codec_for(Any, registry).decode(
                    b'{"$":"v","v":{"$":"%s","t":"%s","v":{}}}' % (tag.encode(), name.encode()), "x"
                )


def test_the_source_has_no_way_to_run_data():
    forbidden = {
        "eval",
        "exec",
        "__import__",
        "import_module",
        "pickle",
        "marshal",
        "importlib",
        "breakpoint",
    }
    for file in pathlib.Path(perdure.values.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = {
                getattr(node, "id", None),
                getattr(node, "attr", None),
                getattr(node, "module", None),
            }
            names |= {
                alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)
            }
            assert not names & forbidden, (file.name, ast.dump(node))


def test_pydantic_is_not_imported():
    program = """
import sys, perdure.values as v
v.codec_for(int, v.TypeRegistry()).encode([1], 'x')
print('pydantic' in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
