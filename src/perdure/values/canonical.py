"""The fingerprint of encoded values. It must not decode them to objects, so it needs no class.

Two bodies have one fingerprint when they differ in nothing but whitespace and the order of keys,
of set elements and of dict pairs. `1`, `1.0` and `True` are three values, as are `0.0` and `-0.0`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, cast

import msgspec

from perdure.errors import DeserializationError
from perdure.values.limits import SMALL, Refusal, check
from perdure.values.tagged import from_json

FINGERPRINT_BYTES: Final = 16
"""Bytes. 128 bits: two of 2**40 arguments collide with a probability below one in 10**14."""

_UNORDERED: Final = frozenset({"set", "frozenset", "dict"})

_sorted_json: Final = msgspec.json.Encoder(order="sorted").encode


def fingerprint(body: bytes) -> bytes:
    """The fingerprint of encoded arguments, or of one encoded value.

    Raises:
        DeserializationError: `body` is not JSON, or over a limit of depth or count.
    """
    try:
        if len(body) > SMALL:
            check(body, len(body))
        tree = from_json(body)
        if b"$" in body or b"\\u" in body:  # else no key can be a tag, however it is spelt
            tree = _canonical(tree)
    except Refusal as refusal:
        raise DeserializationError(f"fingerprint of a record: {refusal}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DeserializationError(f"fingerprint of a record: it is no JSON ({error}).") from error
    return blake2b(_sorted_json(tree), digest_size=FINGERPRINT_BYTES, person=b"perdure").digest()


def _canonical(tree: Any) -> Any:
    """Order what has no order, in each member: tags mean something only inside a tagged body."""
    if not isinstance(tree, dict):
        return tree
    members = cast("dict[str, Any]", tree)
    if _is_tagged(members):
        return _node(members)
    return {k: _node(v) if _is_tagged(v) else v for k, v in members.items()}


def _is_tagged(tree: Any) -> bool:
    """As the rule of bodies says, but whatever the whitespace: the first key starts with `$`."""
    return isinstance(tree, dict) and next(iter(cast("dict[str, Any]", tree)), "")[:1] == "$"


def _node(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_node(item) for item in cast("list[object]", tree)]
    if not isinstance(tree, dict):
        return tree
    fields = {key: _node(item) for key, item in cast("dict[str, Any]", tree).items()}
    items = fields.get("v")
    tag = fields.get("$")
    if isinstance(tag, str) and tag in _UNORDERED and isinstance(items, list):
        fields["v"] = sorted(cast("list[object]", items), key=_sorted_json)
    return fields
