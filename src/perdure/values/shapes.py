"""Objects with fields: how to take them apart and put them together. It must not choose a class.

A shape is given the class by a caller who found it in the app's registry. No shape calls a user's
`__init__`; like msgspec, it does call `__post_init__`, so that what is derived there exists again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from perdure.values.limits import Refusal

Fields: TypeAlias = dict[str, object]

class_of: Final[Callable[[object], type[Any]]] = type
"""`type(value)`, typed as a class of anything."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One kind of class with fields. `rebuild` may be given fields that the class lost since."""

    take_apart: Callable[[Any], Fields]
    rebuild: Callable[[Any, Fields], object]


def shape_of(cls: type[Any]) -> Shape | None:
    """The shape of a dataclass, Struct, attrs class, NamedTuple or pydantic model, else None."""
    if issubclass(cls, BaseException):
        return None
    if issubclass(cls, msgspec.Struct):
        return _STRUCT
    if dataclasses.is_dataclass(cls):
        return _DATACLASS
    if derives(cls, tuple) and hasattr(cls, "_fields"):
        return _NAMED_TUPLE
    if is_pydantic_model(cls):
        return _PYDANTIC
    return _ATTRS if hasattr(cls, "__attrs_attrs__") else None


def derives(cls: type[Any], base: type[Any]) -> bool:
    """`issubclass`, without narrowing `cls` for a type checker."""
    return issubclass(cls, base)


def is_pydantic_model(cls: type[Any]) -> bool:
    """Whether `cls` is a pydantic model. Never imports pydantic: a model's module has done so."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _from_names(names: Callable[[Any], list[str]]) -> Callable[[Any], Fields]:
    return lambda value: {name: getattr(value, name) for name in names(type(value))}


def _struct_names(cls: Any) -> list[str]:
    return list(cls.__struct_fields__)


def _rebuild_struct(cls: Any, fields: Fields) -> object:
    return cls(**_known(fields, _struct_names(cls)))


def _tuple_names(cls: Any) -> list[str]:
    return list(cls._fields)


def _rebuild_named_tuple(cls: Any, fields: Fields) -> object:
    names = _tuple_names(cls)
    defaults = cast("Fields", cls._field_defaults)
    build = cast("Callable[[Any, list[object]], object]", tuple.__new__)
    return build(cls, [_chosen(fields, name, defaults) for name in names])


def _attrs_names(cls: Any) -> list[str]:
    return [attribute.name for attribute in cls.__attrs_attrs__]


def _rebuild_attrs(cls: Any, fields: Fields) -> object:
    return _rebuild_bare(cls, {name: _chosen(fields, name, {}) for name in _attrs_names(cls)})


def _dataclass_names(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _rebuild_dataclass(cls: Any, fields: Fields) -> object:
    values: Fields = {}
    for field in dataclasses.fields(cls):
        if field.name not in fields and field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
            continue
        has_default = field.default is not dataclasses.MISSING
        values[field.name] = _chosen(
            fields, field.name, {field.name: field.default} if has_default else {}
        )
    return _rebuild_bare(cls, values)


def _rebuild_bare(cls: Any, values: Fields) -> object:
    instance: Any = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    for hook in ("__post_init__", "__attrs_post_init__"):
        if hasattr(cls, hook):
            getattr(instance, hook)()
    return instance


def _take_model_apart(value: Any) -> Fields:
    extra, private = value.__pydantic_extra__, value.__pydantic_private__
    return {**value.__dict__, **(extra or {}), **(private or {})}


def _rebuild_model(cls: Any, fields: Fields) -> object:
    private = {name: fields[name] for name in cls.__private_attributes__ if name in fields}
    public = {name: value for name, value in fields.items() if name not in private}
    instance = cls.model_construct(**public)
    if private:
        instance.__pydantic_private__.update(private)
    return instance


def _take_plain_apart(value: object) -> Fields:
    cls = type(value)
    if not hasattr(value, "__dict__") or _has_slots(cls):
        raise Refusal(
            f"a value of type {type_name(cls)!r} keeps its state in __slots__. Make it a "
            "dataclass, or give it a form of its own with register_extension"
        )
    return dict(vars(value))


def _has_slots(cls: type[Any]) -> bool:
    return any("__slots__" in vars(base) and vars(base)["__slots__"] for base in cls.__mro__)


def _rebuild_plain(cls: Any, fields: Fields) -> object:
    instance: Any = object.__new__(cls)
    cast("Fields", vars(instance)).update(fields)
    return instance


def _known(fields: Fields, names: list[str]) -> Fields:
    return {name: fields[name] for name in names if name in fields}


def _chosen(fields: Mapping[str, object], name: str, defaults: Mapping[str, object]) -> object:
    if name in fields:
        return fields[name]
    if name in defaults:
        return defaults[name]
    raise Refusal(f"the field {name!r} is not in the record and has no default. Give it a default")


def type_name(cls: type[Any]) -> str:
    """The full name of a class for messages, with the module unless it is a builtin."""
    # Past a metaclass, which may refuse to tell.
    module, qualname = (type.__getattribute__(cls, name) for name in ("__module__", "__qualname__"))
    name = f"{module}.{qualname}"
    return name.removeprefix("builtins.")


_STRUCT: Final = Shape(_from_names(_struct_names), _rebuild_struct)
_DATACLASS: Final = Shape(_from_names(_dataclass_names), _rebuild_dataclass)
_NAMED_TUPLE: Final = Shape(_from_names(_tuple_names), _rebuild_named_tuple)
_ATTRS: Final = Shape(_from_names(_attrs_names), _rebuild_attrs)
_PYDANTIC: Final = Shape(_take_model_apart, _rebuild_model)
PLAIN: Final = Shape(_take_plain_apart, _rebuild_plain)
"""Any other class that the app registered: its `__dict__` is the value."""
