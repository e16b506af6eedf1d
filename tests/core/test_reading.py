"""What stands in entries whose seals fit, and is not what we write: one error and no value."""

from __future__ import annotations

import msgspec
import pytest

from perdure.core.entries import Entry, EntryKind
from perdure.core.reading import Meta, is_json, read_block, read_memo, read_meta
from perdure.errors import JournalCorrupted


def entry(kind: EntryKind = EntryKind.TASK, body: bytes = b"null", meta: bytes = b"{}") -> Entry:
    return Entry(7, kind, "", 1, "task:1", "pay", b"", body, meta, 5, 1, b"", b"")


BAD = [b"", b"[", b"\xff", b"[[", b'{"draws": 1}', b"[" * 100_000]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[:12].decode("latin-1"))
def test_what_cannot_be_read_is_named_with_its_place(bad: bytes) -> None:
    for read, damaged in (
        (read_meta, entry(meta=bad)),
        (read_block, entry(EntryKind.DRAWS, body=bad)),
        (read_memo, entry(EntryKind.MEMO, body=bad)),
    ):
        with pytest.raises(JournalCorrupted) as caught:
            read(damaged)
        told = str(caught.value)
        assert told.startswith("Position 7 of a journal (")
        assert f"{damaged.kind!r}, 'task:1') cannot be read ({caught.value.__cause__})" in told
        assert f"{bad[:200]!r}. Restore a backup" in told
        assert len(told) < 1_200, "the bytes are shown in part"
        assert caught.value.__cause__ is not None


def test_what_is_there_is_read_and_what_a_newer_version_adds_is_not_minded() -> None:
    assert read_meta(entry()) == Meta(draws={}, line="")
    meta = b'{"draws":{"uuid":2},"line":"a.py:3","novel":[1]}'
    assert read_meta(entry(meta=meta)) == Meta(draws={"uuid": 2}, line="a.py:3")
    block = b'{"random":[3,[0.5,1]],"uuid":[1,["u"]]}'
    assert read_block(entry(EntryKind.DRAWS, body=block)) == {
        "random": (3, [0.5, 1]),
        "uuid": (1, ["u"]),
    }
    assert read_memo(entry(EntryKind.MEMO, body=b'"child"')) == "child"


def test_what_is_one_json_text() -> None:
    for text in (b"1", b"null", b'{"a":[1,"b"]}', b' "x" '):
        assert is_json(text)
    for other in (b"", b"1 2", b'1},"x":{', b"\xff", b"[" * 100_000):
        assert not is_json(other)


def test_members_that_say_nothing_take_no_bytes() -> None:
    assert msgspec.json.encode(Meta()) == b"{}"
    assert msgspec.json.encode(Meta(line="flow.py:7")) == b'{"line":"flow.py:7"}'
