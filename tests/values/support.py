"""What the tests of values share: a registry with all samples, and the round trip."""

from perdure.values import TypeRegistry, codec_for
from perdure.values.equality import compare
from perdure.values.limits import Refusal
from tests.values.samples import (
    CLASSES,
)


def tagged(node):
    return b'{"$":"v","v":' + node + b"}"


def full_registry():
    registry = TypeRegistry()
    for cls in CLASSES:
        registry.register(cls)
    return registry


def same(given_value, back, registry=None):
    try:
        compare(given_value, back, registry or full_registry())
    except Refusal:
        return False
    return True


def round_trip(annotation, value, registry=None):
    registry = registry or TypeRegistry()
    codec = codec_for(annotation, registry)
    body, first = codec.encode_and_decode(value, "here")
    replayed = codec.decode(body, "here")
    assert same(value, first, registry), (value, first)
    assert same(first, replayed, registry)
    assert codec.encode(value, "here") == body
    return body
