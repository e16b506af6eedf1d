"""Draws: values that are pure functions of (seed, scope, kind, ordinal). No state, no chance.

A draw is not a secret: whoever can read the database can compute it. Secrets come from `token`.

Source: BLAKE2b (RFC 7693) in keyed mode as a pseudo-random function; the version-4 layout of
RFC 9562 section 5.4 for UUIDs; the 53-bit construction of a float in [0, 1) as an integer below
2**53 divided by 2**53, which gives every multiple of 2**-53 the same chance.
"""

from __future__ import annotations

from hashlib import blake2b

ALGORITHM = 1
"""Version of everything in this file, stored with each workflow; a change needs a new number."""

SEED_BYTES = 32
_FLOAT_BITS = 53
_BITS_PER_BLOCK = 512


def derive_seed(store_id: bytes, app_name: str, type_name: str, id_: str, generation: int) -> bytes:
    """The 256-bit seed of one life of one workflow or task.

    The store id is random and made with the database, so equal ids in two databases draw apart.
    Every part is length-prefixed: ("ab", "c") and ("a", "bc") give different seeds.
    """
    state = blake2b(digest_size=SEED_BYTES, person=b"perdure-seed")
    for part in (store_id, app_name.encode(), type_name.encode(), id_.encode()):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    state.update(generation.to_bytes(8, "big"))
    return state.digest()


class DrawSource:
    """The draws of one scope. It keeps no counters: the caller names the ordinal, from 1.

    Two sources of one (seed, scope) always agree; that is what makes a draw safe to repeat.
    """

    __slots__ = ("_bits", "_keys", "_random", "_uuid")

    def __init__(self, seed: bytes, scope: str) -> None:
        """Prepare the hash states of `scope` ("" is the root) under `seed` (32 bytes)."""
        path = scope.encode()
        prefix = len(path).to_bytes(4, "big") + path
        self._random = blake2b(prefix, key=seed, digest_size=8, person=b"perdure-random")
        self._uuid = blake2b(prefix, key=seed, digest_size=16, person=b"perdure-uuid")
        self._keys = blake2b(prefix, key=seed, digest_size=16, person=b"perdure-idemkey")
        self._bits = blake2b(prefix, key=seed, digest_size=64, person=b"perdure-bits")

    def random(self, ordinal: int) -> float:
        """A float in [0, 1) with 53 random bits."""
        state = self._random.copy()
        state.update(ordinal.to_bytes(8, "big"))
        return (int.from_bytes(state.digest(), "big") >> 11) * 2.0**-_FLOAT_BITS

    def uuid(self, ordinal: int) -> str:
        """A UUID in version-4 layout: 122 random bits, lower case with hyphens."""
        state = self._uuid.copy()
        state.update(ordinal.to_bytes(8, "big"))
        number = int.from_bytes(state.digest(), "big")
        number = (number & ~(0xF << 76)) | (0x4 << 76)
        number = (number & ~(0x3 << 62)) | (0x2 << 62)
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def idempotency_key(self, ordinal: int) -> str:
        """32 hexadecimal characters (128 bits) that name one intended effect."""
        state = self._keys.copy()
        state.update(ordinal.to_bytes(8, "big"))
        return state.hexdigest()

    def bits(self, ordinal: int, width: int) -> int:
        """A non-negative integer below 2**width. `width` is at least 0.

        The blocks of one draw are its ordinal followed by a block number, so a wide draw and a
        narrow one of the same ordinal share no prefix by accident of length.
        """
        value = 0
        for block in range((width + _BITS_PER_BLOCK - 1) // _BITS_PER_BLOCK):
            state = self._bits.copy()
            state.update(ordinal.to_bytes(8, "big") + width.to_bytes(8, "big"))
            state.update(block.to_bytes(8, "big"))
            value = (value << _BITS_PER_BLOCK) | int.from_bytes(state.digest(), "big")
        spare = -width % _BITS_PER_BLOCK
        return value >> spare


def derive_id(seed: bytes, *parts: str) -> str:
    """A 32-character id of something that a workflow starts, fixed by the workflow and `parts`."""
    content = b""
    for part in parts:
        data = part.encode()
        content += len(data).to_bytes(8, "big") + data
    return blake2b(content, key=seed, digest_size=16, person=b"perdure-id").hexdigest()
