"""Values that JSON lacks: how each is written, as databases hold it, and what is not read."""

import datetime as dt
import decimal
import math
import pathlib
import uuid
import zoneinfo
from typing import Any

import pytest

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values import TypeRegistry, codec_for, scalars
from perdure.values.scalars import find_zone
from tests.values.samples import BERLIN, name
from tests.values.support import same, tagged

HOUR = dt.timedelta(hours=1)
MOMENT = dt.datetime(2026, 10, 25, 2, 30)
LIMIT_BITS = 332_192


@pytest.mark.parametrize(
    ("value", "tag", "plain"),
    [
        (2**63, "int", '"0x8000000000000000"'),
        (-(2**63) - 1, "int", '"-0x8000000000000001"'),
        (math.nan, "float", '"nan"'),
        (math.inf, "float", '"inf"'),
        (-math.inf, "float", '"-inf"'),
        (complex(1.5, -0.0), "complex", "[1.5,-0.0]"),
        (decimal.Decimal("-1.10"), "decimal", '"-1.10"'),
        (uuid.UUID(int=5), "uuid", '"00000000-0000-0000-0000-000000000005"'),
        (b"\x00\xff", "bytes", '"AP8="'),
        (bytearray(b"\x00\xff"), "bytearray", '"AP8="'),
        (MOMENT, "datetime", '"2026-10-25T02:30:00"'),
        (MOMENT.replace(fold=1), "datetime", '["2026-10-25T02:30:00","",1]'),
        (MOMENT.replace(tzinfo=dt.UTC), "datetime", '"2026-10-25T02:30:00+00:00"'),
        (MOMENT.replace(tzinfo=dt.timezone(HOUR)), "datetime", '"2026-10-25T02:30:00+01:00"'),
        (
            MOMENT.replace(tzinfo=BERLIN),
            "datetime",
            '["2026-10-25T02:30:00","Europe/Berlin",0]',
        ),
        (
            MOMENT.replace(tzinfo=BERLIN, fold=1),
            "datetime",
            '["2026-10-25T02:30:00","Europe/Berlin",1]',
        ),
        (dt.date(2026, 1, 2), "date", '"2026-01-02"'),
        (dt.time(1, 2, 3, 4), "time", '"01:02:03.000004"'),
        (dt.time(1, tzinfo=dt.UTC), "time", '"01:00:00+00:00"'),
        (dt.time(1, tzinfo=BERLIN, fold=1), "time", '["01:00:00","Europe/Berlin",1]'),
        (dt.time(1, fold=1), "time", '["01:00:00","",1]'),
        (dt.timedelta(-1, 2, 3), "timedelta", "[-1,2,3]"),
        (pathlib.Path("a/b"), "path", '"a/b"'),
        (pathlib.PurePosixPath("/a"), "path.posix", '"/a"'),
        (pathlib.PureWindowsPath("C:/a"), "path.windows", '"C:\\\\a"'),
    ],
    ids=name,
)
def test_the_form_of_each_scalar(value, tag, plain):
    codec = codec_for(Any, TypeRegistry())
    body = tagged(f'{{"$":"{tag}","v":{plain}}}'.encode())
    assert codec.encode(value, "x") == body
    assert same(value, codec.decode(body, "x"))


def test_an_int_of_just_the_limit_is_kept():
    codec = codec_for(Any, TypeRegistry())
    for largest in ((1 << LIMIT_BITS) - 1, 1 - (1 << LIMIT_BITS)):
        assert codec.encode_and_decode(largest, "x")[1] == largest
    for value in (1 << LIMIT_BITS, -(1 << LIMIT_BITS)):
        with pytest.raises(ValueTooLarge) as caught:
            codec.encode(value, "x")
        assert str(caught.value) == (
            "x: at $: an int of 332,193 bits is over the limit of 332,192 bits."
        )


def test_digits_are_read_up_to_those_of_the_largest_int():
    codec = codec_for(Any, TypeRegistry())
    digits = "f" * (LIMIT_BITS // 4)
    largest = codec.decode(tagged(f'{{"$":"int","v":"-0x{digits}"}}'.encode()), "x")
    assert largest == 1 - (1 << LIMIT_BITS)
    with pytest.raises(DeserializationError, match="an int with too many digits"):
        codec.decode(tagged(f'{{"$":"int","v":"-0x{digits}f"}}'.encode()), "x")


@pytest.mark.parametrize("tag", ["bytes", "bytearray"])
@pytest.mark.parametrize("text", ["AP8*=", "AP8", "=AP8"])
def test_bytes_are_read_strictly(tag, text):
    with pytest.raises(DeserializationError):
        codec_for(Any, TypeRegistry()).decode(
            tagged(b'{"$":"%s","v":"%s"}' % (tag.encode(), text.encode())), "x"
        )


def test_time_zones_that_are_no_value_are_refused_by_name():
    class Odd(dt.tzinfo):
        def utcoffset(self, when):
            return None

        dst = tzname = utcoffset

    class Keyless(zoneinfo.ZoneInfo):
        key = property()

    codec = codec_for(Any, TypeRegistry())
    for value in (MOMENT.replace(tzinfo=Odd()), dt.time(1, tzinfo=Odd())):
        with pytest.raises(SerializationError) as caught:
            codec.encode(value, "x")
        assert str(caught.value) == (
            f"x: at $: a time zone of type {__name__}.{Odd.__qualname__} cannot be recorded. "
            "Use zoneinfo.ZoneInfo or datetime.timezone."
        )
    with pytest.raises(SerializationError) as caught:
        codec.encode(MOMENT.replace(tzinfo=Keyless.no_cache("Europe/Berlin")), "x")
    assert str(caught.value) == (
        "x: at $: a ZoneInfo without a key cannot be recorded. Make it as ZoneInfo(key)."
    )


@pytest.mark.parametrize(
    "key",
    ["UTC", "EST5EDT", "Etc/GMT+12", "Etc/GMT-0", "America/Argentina/Buenos_Aires"],
)
def test_zones_that_there_are_are_found(key):
    find_zone.cache_clear()
    assert find_zone(key) == zoneinfo.ZoneInfo(key)


@pytest.mark.parametrize(
    "key", ["", "/UTC", "UTC/", "a//b", "../x", "a.b", "a b", "x" * 33, "a/b/c/d/e"]
)
def test_what_is_not_like_the_name_of_a_zone_opens_no_file(key):
    with pytest.raises(ValueError, match=r"^not the name of a time zone$"):
        find_zone(key)


@pytest.mark.parametrize("key", ["No/Where", "x" * 32, "a/b/c/d", "utc0"])
def test_a_zone_that_there_is_not_is_told(key):
    with pytest.raises(ValueError, match=rf"^there is no time zone '{key}' here$"):
        find_zone(key)


def test_where_the_system_has_no_file_of_a_zone_those_of_the_package_are_known(
    monkeypatch, tmp_path
):
    find_zone.cache_clear()
    monkeypatch.setattr(scalars, "TZPATH", (str(tmp_path),))
    monkeypatch.setattr(scalars, "_known_zones", lambda: frozenset({"Europe/Berlin"}))
    assert find_zone("Europe/Berlin") is zoneinfo.ZoneInfo("Europe/Berlin")
    with pytest.raises(ValueError, match="there is no time zone"):
        find_zone("Europe/Paris")
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Paris").touch()
    assert find_zone("Europe/Paris") is zoneinfo.ZoneInfo("Europe/Paris")
    find_zone.cache_clear()


def test_the_zones_of_the_package_are_all_that_there_are():
    assert scalars._known_zones() == zoneinfo.available_timezones()
