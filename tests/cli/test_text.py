from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.output import Output
from perdure.cli.text import clean, clean_lines, json_line, json_text, raw, shorten, span

UNSAFE = "\x1b[31m \x9b31m \x07 \u202e \u2066 \u200b \x7f \r"


def is_safe(text: str) -> bool:
    return clean(text) == text


@given(st.text())
def test_cleaned_text_is_safe_and_stays_so(text: str) -> None:
    once = clean(text)
    assert is_safe(once)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in once)
    assert once.isascii() or not text.isascii()


def test_ordinary_text_is_left_alone() -> None:
    assert clean("Zürich, 東京, 5 €") == "Zürich, 東京, 5 €"
    assert clean(UNSAFE) == (r"\x1b[31m \x9b31m \x07 \u202e \u2066 \u200b \x7f \x0d")
    assert clean_lines("a\nb\tc\x1b") == "a\nb    c\\x1b"


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner)))
def test_json_means_the_same_and_is_safe(value: object) -> None:
    try:
        body = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return  # lone surrogates are never recorded, big integers are recorded otherwise
    for text in (json_line(raw(body)), json_text(raw(body))):
        assert json.loads(text) == value
        assert all(is_safe(line) for line in text.split("\n"))


def test_numbers_stay_as_they_are_recorded() -> None:
    body = b'{"big":123456789012345678901234567890,"small":1.10}'
    assert json_line({"v": raw(body)}) == '{"v":' + body.decode() + "}"


@pytest.mark.parametrize(
    "body", [b"\x1b[31m no JSON", b'"\xff"', b"{", b"", b"[" * 100_000 + b"]" * 100_000]
)
def test_what_is_no_json_is_shown_as_text(body: bytes) -> None:
    shown = json.loads(json_line(raw(body)))
    assert isinstance(shown, str)


def test_short_forms() -> None:
    assert shorten("x" * 60) == "x" * 60
    assert len(shorten("x" * 9_999)) == 60
    assert shorten("x" * 9_999).endswith("... (9,999 chars)")
    assert [span(n * 1_000_000) for n in (0, 61, 7_300, 90_000)] == [
        "0.000 s",
        "1 min 1 s",
        "2 h 1 min",
        "1 d 1 h",
    ]
    assert span(86_400 * 10**400).startswith("1000")


def test_markup_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.line("[red]x[/red] [link=http://evil]y :smile:")
    out.table(("[b]A",), [("[/nothing]",), ("\x1b]0;title\x07",)])
    out.pairs([("[i]k", "[u]v\nw")])
    assert capsys.readouterr().out.splitlines() == [
        "[red]x[/red] [link=http://evil]y :smile:",
        "[b]A",
        "[/nothing]",
        r"\x1b]0;title\x07",
        "[i]k  [u]v",
        "      w",
    ]
