"""What must never change, for it stands in the stores of all who have one: the very values."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core.divergence import (
    describe_arguments,
    describe_leftover,
    describe_mismatch,
    describe_surplus,
)
from perdure.core.draws import ALGORITHM, SEED_BYTES, DrawSource, derive_id, derive_seed
from perdure.core.entries import (
    CHECKSUM_BYTES,
    COMMANDS,
    DELIVERIES,
    FORMAT,
    NOTES,
    READ_OUTSIDE,
    Entry,
    EntryKind,
    checksum,
    genesis,
    verify_chain,
)
from perdure.core.identity import (
    GENERATION_MAX,
    ID_LENGTH_MAX,
    InvocationKey,
    WorkflowIdentity,
    read_key,
    validate_identifier,
)
from perdure.core.journal import HELD_BYTES_MAX, HELD_MAX, Command, Draft
from perdure.core.lifecycle import TRANSITIONS, InvocationState
from perdure.core.reading import Meta
from perdure.core.scope import BITS_MAX, DRAW_KINDS, NUMBER_BYTES, TICK, Scope
from perdure.errors import InvalidIdentifier, JournalCorrupted

SEED = derive_seed(b"0123456789abcdef", "shop", "order", "42", 3)
KEY = InvocationKey("w", 2)
ENTRY = Entry(
    4, "task", "/1", 9, "/1:task:1", "pay", b"d", b'"\xff"', b"{}", 5, 7, b"t" * 16, b"", "json1"
)


# --- draws and seals -----------------------------------------------------------------------------


def test_draws_have_these_values() -> None:
    """Others would diverge from every journal that there is. They need a new ALGORITHM."""
    assert (ALGORITHM, SEED_BYTES) == (1, 32)
    assert SEED.hex() == "3fb1226d948f7eb0134a3427763f147b0fac712f5e77c29ce2005290830ad035"
    source = DrawSource(SEED, "/2/1")
    assert [source.random(1), source.random(300)] == [0.7993206462114133, 0.5743937323233284]
    assert source.uuid(1) == "22f437b5-1c5e-4f34-a75b-d6308bdb4436"
    assert source.uuid(300) == "fc217a8b-fc8e-4377-b63e-f489f3f67951"
    assert source.idempotency_key(1) == "4d62b0de5e7a10586dea3abf47515f21"
    assert source.idempotency_key(300) == "c4c4d078af789b5537b99dad44e4db95"
    assert source.bits(1, 64) == 0x719188453A100E74
    assert f"{source.bits(300, 700):x}" == (
        "ede0af0327299281838218b91750dfed8de026675979376b237f3c412336591d581e792672f1d7004650ae9308"
        "9c16d591c8da118e2a41afaac21defd6bdf059a1bfff3dce33109936bd32f356e5fd5f8e6246bf07647be"
    )
    assert derive_id(SEED, "start", "/2/1", "7") == "28d98302bc6ad58db76a612662f2f21c"


def test_seals_have_these_values() -> None:
    assert (CHECKSUM_BYTES, FORMAT) == (16, "json1")
    assert genesis(KEY, SEED).hex() == "bcb068030fed3ec540323b068b56d3a1"
    first = Entry(0, "task", "", 1, "task:1", "pay", b"d", b"null", b"{}", 5, 7, b"t" * 16, b"")
    assert first.codec == "json1"
    assert checksum(genesis(KEY, SEED), first).hex() == "a528fdaad8503bbadaa1f89ba57a27ad"


@pytest.mark.parametrize("made", [ENTRY, Draft("task", "", 1, "k", "n", b"", b"", b"", 5)])
def test_what_is_recorded_cannot_be_changed(made: Any) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        made.kind = "other"


def test_commands_are_told_apart_by_identity() -> None:
    scope = Scope("", SEED, 0, lambda *_: None)
    one, other = (Command(EntryKind.TASK, scope, 1, ("", 1), "k", "n") for _ in range(2))
    assert one != other
    assert (one.meta, one.recorded, one.notes) == (b"", None, ())


def test_a_journal_without_its_tail_says_how_much_there_is() -> None:
    with pytest.raises(JournalCorrupted) as caught:
        verify_chain(KEY, SEED, [], 3)
    assert str(caught.value).startswith(
        "Journal of 'w' (generation 2): the workflow row says 3 entries, 0 were found."
    )


# --- words and tables ----------------------------------------------------------------------------


def test_the_words_for_kinds_and_states() -> None:
    assert [kind.value for kind in EntryKind] == [
        *("draws", "record", "data", "start", "memo", "sleep", "watch", "publish", "send"),
        *("receive", "compensate", "began", "unbegun", "attempt", "task", "dropped", "fired"),
        *("done", "message", "update", "answer", "cancel", "end"),
    ]
    assert [kind.name.lower() for kind in EntryKind] == [kind.value for kind in EntryKind]
    assert [state.value for state in InvocationState] == [
        *("ready", "running", "waiting", "paused", "parked", "dead"),
        *("completed", "failed", "cancelled", "terminated"),
    ]
    assert [state.name.lower() for state in InvocationState] == [*InvocationState]
    assert DRAW_KINDS == ("random", "uuid", "time", "bits", "key")


def test_each_kind_is_what_it_is() -> None:
    assert {*COMMANDS} == {
        *("record", "data", "publish", "start", "sleep", "watch", "send", "receive"),
        *("compensate", "answer", "task", "dropped"),
    }
    assert {*NOTES} == {"began", "unbegun", "attempt"}
    assert {*DELIVERIES} == {"task", "fired", "done", "message", "update", "cancel"}
    assert {*READ_OUTSIDE} == {"publish", "answer"}
    assert {*EntryKind} - COMMANDS - NOTES - DELIVERIES == {"draws", "memo", "end"}


def test_the_moves_between_states() -> None:
    ends = {"completed", "failed", "cancelled", "terminated"}
    outside = {"cancelled", "terminated"}
    assert {source.value: {*targets} for source, targets in TRANSITIONS.items()} == {
        "ready": {"running", "paused", *outside},
        "running": {"running", "ready", "waiting", "paused", "parked", "dead", *ends},
        "waiting": {"ready", "running", "paused", *outside},
        "paused": {"ready", "running", *outside},
        "parked": {"ready", "running", *outside},
        "dead": {"ready", "running", *outside},
        **{end: set() for end in ends},
    }


def test_limits() -> None:
    assert (HELD_MAX, HELD_BYTES_MAX) == (4_096, 262_144)
    assert (TICK, NUMBER_BYTES, BITS_MAX) == (1_000_000, 20, 8_388_608)
    assert (ID_LENGTH_MAX, GENERATION_MAX) == (255, 9_223_372_036_854_775_807)


# --- names ---------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_name_is_told_with_what_it_is_for() -> None:
    for wrong in ("", 7, "x" * 256, "a\n"):
        with pytest.raises(InvalidIdentifier, match=r"^workflow_id "):
            WorkflowIdentity(wrong, "t")  # type: ignore[arg-type]
        with pytest.raises(InvalidIdentifier, match=r"^workflow_type "):
            WorkflowIdentity("w", wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidIdentifier, match=r"^parent_workflow_id "):
            WorkflowIdentity("w", "t", wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidIdentifier, match=r"^id "):
            read_key([wrong, 1])
    with pytest.raises(InvalidIdentifier, match=r"^generation is 0\. .*1 to 9,223,372"):
        read_key(["w", 0])


def test_what_is_shown_of_a_name_is_short() -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        validate_identifier("a" * 40 + "b" * 300, "id")
    assert "has 340 characters, at most 255 are" in str(caught.value)
    assert repr("a" * 40) in str(caught.value)
    with pytest.raises(InvalidIdentifier) as caught:
        validate_identifier("a" * 80 + "\t", "id")
    assert f"{'a' * 80!r} has the control character '\\t' at index 80" in str(caught.value)
    with pytest.raises(InvalidIdentifier, match="at most 3 are"):
        validate_identifier("abcd", "id", 3)


# --- reports of divergences ----------------------------------------------------------------------

COMMAND = Command(
    EntryKind.RECORD, Scope("", SEED, 0, lambda *_: None), 9, ("", 9), "note:1", "note"
)
REMEDY = """The workflow is parked and its journal is untouched. If the code was changed, bring the
old order back for workflows that are under way; if it was not, something in the workflow
function is not deterministic (time, chance, environment, set order): draw it from wf, or
wf.record it.
Then let it go on with: perdure workflow resume w"""


def told(*lines: str) -> str:
    head = (
        "Workflow 'w' (generation 2) does not replay: position 4 of its journal differs from what"
    )
    return "\n".join([f"{head} the code asks for.", *lines, REMEDY])


def test_a_mismatch_tells_both_sides() -> None:
    then = Meta(draws={"uuid": 2, "bits": 1}, line="a.py:3")
    assert describe_mismatch(KEY, ENTRY, then, COMMAND, {}, "") == told(
        "  recorded: task 'pay' as '/1:task:1', after 1 bits, 2 uuid, at a.py:3",
        "  now:      record 'note' as 'note:1', after no draws, at an unknown line",
        "  cause:    another operation stands here now",
    )


@pytest.mark.parametrize(
    ("kind", "name", "draws", "cause"),
    [
        (EntryKind.TASK, "pay", {}, "another number of draws comes before it now"),
        (EntryKind.TASK, "pay", {"uuid": 1}, "its place in its own sequence changed"),
        (EntryKind.TASK, "buy", {"uuid": 1}, "another operation stands here now"),
        (EntryKind.RECORD, "pay", {"uuid": 1}, "another operation stands here now"),
    ],
)
def test_a_mismatch_tells_its_cause(
    kind: EntryKind, name: str, draws: dict[str, int], cause: str
) -> None:
    command = Command(kind, COMMAND.scope, 9, ("", 9), "k", name)
    text = describe_mismatch(KEY, ENTRY, Meta(draws={"uuid": 1}), command, draws, "b.py:4")
    assert f"\n  cause:    {cause}\n" in text
    assert text.count("  cause:") == 1


def test_other_arguments_are_shown_as_they_are_recorded() -> None:
    recorded, asked = b'{"n":"\xff"}', b"x" * 301
    assert describe_arguments(KEY, ENTRY, "a.py:3", recorded, asked, "b.py:4") == told(
        '  recorded: pay({"n":"\ufffd"}), at a.py:3',
        f"  now:      pay({'x' * 300}...), at b.py:4",
        "  cause:    other arguments are given now",
    )
    text = describe_arguments(KEY, ENTRY, "", b"x" * 300, b"", "")
    assert f"pay({'x' * 300}), at an unknown line\n  now:      pay(), at an unknown line" in text


def test_more_and_fewer_operations_than_before() -> None:
    end = Entry(4, "end", "", 0, "end", "returned", b"", b"", b"{}", 5, 7, b"", b"")
    assert describe_surplus(KEY, end, COMMAND, "b.py:4") == told(
        "  recorded: the end of scope 'root'",
        "  now:      record 'note' as 'note:1', at b.py:4",
        "  cause:    the code asks for more operations than before",
    )
    for path, name in (("", "root"), ("/1", "/1")):
        scope = Scope(path, SEED, 0, lambda *_: None)
        scope.commands = 3
        assert describe_leftover(KEY, ENTRY, Meta(line="a.py:3"), scope) == told(
            "  recorded: task 'pay' as '/1:task:1', after no draws, at a.py:3",
            f"  now:      the end of scope {name!r} after 3 commands",
            "  cause:    the code asks for fewer operations than before",
        )
    branch = Entry(4, "end", "/1", 0, "end", "returned", b"", b"", b"{}", 5, 7, b"", b"")
    assert "the end of scope '/1'" in describe_surplus(KEY, branch, COMMAND, "")
