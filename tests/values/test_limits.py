"""The limits, each to the last byte, and that what is inside of texts does not count."""

import pytest

from perdure.values.limits import (
    BYTES_MAX,
    DEPTH_MAX,
    INT_BITS_MAX,
    ITEMS_MAX,
    Refusal,
    check,
    too_deep,
)


def test_the_limits_are_those_of_the_guide():
    assert (DEPTH_MAX, BYTES_MAX, ITEMS_MAX, INT_BITS_MAX) == (64, 8_388_608, 1_000_000, 332_192)


def refusal(body, bytes_max=BYTES_MAX):
    with pytest.raises(Refusal) as caught:
        check(body, bytes_max)
    assert caught.value.too_large
    return str(caught.value)


def test_of_size():
    check(b"x" * 100, 100)
    check(b"x" * 1000, 1000)
    assert refusal(b"x" * 1001, 1000) == (
        "at $: the encoded value has 1,001 bytes, the limit is 1,000. "
        "Keep large data in a file or an object store and record where it is"
    )
    assert "has 2 bytes, the limit is 1." in refusal(b"xx", 1)


TOO_DEEP = (
    "at $: the value is nested deeper than 64 levels, or it contains itself. "
    "Flatten it, or refer to the inner parts by an id"
)


@pytest.mark.parametrize(
    ("opening", "closing", "times"),
    [(b"[", b"]", 256), (b"{", b"}", 256), (b'{"a":[', b"]}", 128), (b'{"]":', b"}", 256)],
)
def test_of_depth(opening, closing, times):
    whole = opening * times + b"1" + closing * times
    check(whole, BYTES_MAX)
    check(whole + b"[]" * 200, BYTES_MAX)
    assert refusal(b"[" + whole + b"]") == TOO_DEEP
    assert refusal(b"{" + whole + b"}") == TOO_DEEP
    assert str(too_deep()) == TOO_DEEP
    assert too_deep().too_large


def test_many_containers_beside_each_other_are_not_deep():
    check(b"[" + b"[]," * 500 + b"[]]", BYTES_MAX)
    check(b"[" + b"{}," * 500 + b"{}]", BYTES_MAX)


@pytest.mark.parametrize("item", [b"0,", b"[]", b"{}"])
def test_of_items(item):
    check(item * ITEMS_MAX, BYTES_MAX)
    assert refusal(item * ITEMS_MAX + b",") == (
        "at $: the value has about 1,000,001 items, the limit is 1,000,000. "
        "Split it, or keep it in a file and record where it is"
    )
    assert "1,000,001 items" in refusal(item * ITEMS_MAX + b"[")
    assert "1,000,001 items" in refusal(item * ITEMS_MAX + b"{")


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"[" * 500 + b'"',
        b'"' + b"{" * 500 + b'"',
        b'"' + b"," * 1_000_001 + b'"',
        rb'"\"' + b"[" * 500 + rb'\""',
        rb'"\\\"' + b"[" * 500 + rb'\\"',
        rb'["\\","' + b"[" * 500 + rb'"]',
    ],
    ids=range(6),
)
def test_what_is_inside_of_a_text_does_not_count(text):
    check(text, BYTES_MAX)


def test_what_is_between_texts_counts():
    assert refusal(b'"",' + b'["",' * 257 + b"1") == TOO_DEEP
    assert refusal(rb'"\\"' + b"[" * 257) == TOO_DEEP
    assert refusal(rb'"\""' + b"[" * 257) == TOO_DEEP


def test_a_refusal_has_its_path_from_the_outside_in():
    told = Refusal("no")
    assert (told.reason, told.too_large, str(told)) == ("no", False, "at $: no")
    assert told.args == ("no",)
    told.inside("[3]")
    told.inside(".owner")
    assert str(told) == "at $.owner[3]: no"
