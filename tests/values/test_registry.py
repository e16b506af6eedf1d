"""What a name in a database can reach: registered classes and those derived from them."""

import ast
import dataclasses
import pathlib
import subprocess
import sys
import types
from typing import Any

import pytest

import perdure.values
from perdure.errors import DeserializationError, PerdureError, RegistrationError, SerializationError
from perdure.values import TypeRegistry, codec_for, stable_name
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
