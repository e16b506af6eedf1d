"""Values to bytes and back, by annotation. It must not know tasks, journals or state backends."""

from __future__ import annotations

from perdure.values.arguments import UNTYPED, decode_arguments, encode_arguments
from perdure.values.canonical import FINGERPRINT_BYTES, fingerprint
from perdure.values.codec import Codec, codec_for
from perdure.values.exceptions import (
    decode_exception,
    encode_exception,
    headline,
    is_record_of,
    message_of,
    notes_of,
    recorded_traceback,
    with_notes,
    without_traceback,
)
from perdure.values.limits import BYTES_MAX, DEPTH_MAX, INT_BITS_MAX, ITEMS_MAX
from perdure.values.registry import MAIN_MODULES, TypeRegistry, main_module_name, stable_name
from perdure.values.scalars import Extension

__all__ = [
    "BYTES_MAX",
    "DEPTH_MAX",
    "FINGERPRINT_BYTES",
    "INT_BITS_MAX",
    "ITEMS_MAX",
    "MAIN_MODULES",
    "UNTYPED",
    "Codec",
    "Extension",
    "TypeRegistry",
    "codec_for",
    "decode_arguments",
    "decode_exception",
    "encode_arguments",
    "encode_exception",
    "fingerprint",
    "headline",
    "is_record_of",
    "main_module_name",
    "message_of",
    "notes_of",
    "recorded_traceback",
    "stable_name",
    "with_notes",
    "without_traceback",
]
