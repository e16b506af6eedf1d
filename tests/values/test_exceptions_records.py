"""What a record of an exception holds, to the byte and to the last character of each limit."""

import json
from typing import Any

import pytest

from perdure.errors import DeserializationError, TaskError
from perdure.values import (
    BYTES_MAX,
    TypeRegistry,
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


class OrderError(Exception):
    pass


class BookError(Exception):
    pass


def record_of(error, *classes):
    registry = TypeRegistry()
    for cls in classes:
        registry.register(cls)
    return json.loads(encode_exception(error, registry))


def decoded(record):
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return decode_exception(body, TypeRegistry())


def there_and_back(error):
    return decoded(encode_exception(error, TypeRegistry()))


def noted(error, *notes):
    for note in notes:
        error.add_note(note)
    return error


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_record_is_as_short_as_what_it_holds():
    assert encode_exception(ValueError("x"), TypeRegistry()) == (
        b'{"type":"builtins.ValueError","message":"x",'
        b'"args":{"$":"v","v":{"$":"tuple","v":["x"]}},"traceback":"ValueError: x\\n"}'
    )
    error = noted(OrderError(), "soon")
    error.code = 7
    error.__cause__ = KeyError("k")
    assert record_of(error, OrderError) == {
        "type": f"{__name__}.OrderError",
        "message": "",
        "args": {"$": "v", "v": {"$": "tuple", "v": []}},
        "state": {"code": 7},
        "notes": ["soon"],
        "cause": {
            "type": "builtins.KeyError",
            "message": "'k'",
            "args": {"$": "v", "v": {"$": "tuple", "v": ["k"]}},
        },
        "suppress": True,
        "traceback": (
            "KeyError: 'k'\n\nThe above exception was the direct cause of the following "
            f"exception:\n\n{__name__}.OrderError\nsoon\n"
        ),
    }
    assert record_of(ExceptionGroup("g", [KeyError()]))["members"] == [
        {
            "type": "builtins.KeyError",
            "message": "",
            "args": {"$": "v", "v": {"$": "tuple", "v": []}},
        }
    ]
    assert "args" not in record_of(ValueError(object))
    hidden = record_of(OSError(2, "no", "a.txt", None, "b.txt"))["hidden"]
    assert hidden == {"filename": "a.txt", "filename2": "b.txt"}


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (8192, lambda text: record_of(ValueError(text))["message"]),
        (8192, lambda text: record_of(TaskError("t", text))["message"]),
        (1024, lambda text: record_of(noted(ValueError(), text))["notes"][0]),
        (512, lambda text: record_of(type(text[2:], (Exception,), {"__module__": "m"})())["type"]),
        (512, lambda text: record_of(TaskError(text, "m"))["type"]),
    ],
    ids=["message", "message of a TaskError", "note", "type", "type of a TaskError"],
)
def test_a_text_of_just_the_limit_is_whole_and_a_longer_one_is_cut_and_says_so(limit, told):
    text = "m." + "x" * (limit - 2)
    assert told(text) == text
    assert told(text + "x") == text[: limit - 6] + " [...]"


def test_lone_surrogates_are_spelt_out():
    assert record_of(ValueError("a\ud800"))["message"] == "a\\ud800"


def test_eight_notes_are_kept():
    error = noted(ValueError(), *map(str, range(9)))
    assert record_of(error)["notes"] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert there_and_back(error).__notes__ == ["0", "1", "2", "3", "4", "5", "6", "7"]


def test_of_a_long_traceback_the_end_is_kept():
    error = ValueError("x" * 20_000)
    text = record_of(error)["traceback"]
    assert len(text) == 16 * 1024
    assert text.startswith("[...] xxx")
    assert text.endswith("xxx\n")
    whole = "y" * (16 * 1024)
    error = ValueError("v")
    vars(error)["__perdure_traceback__"] = whole
    assert record_of(error)["traceback"] == whole
    vars(error)["__perdure_traceback__"] = whole + "z"
    assert record_of(error)["traceback"] == "[...] " + whole[:-7] + "z"


def test_the_innermost_fifty_frames_are_told():
    calls = "\n".join(f"def f{n}(): return f{n + 1}()" for n in range(60))
    names: dict[str, Any] = {}
    exec(f"{calls}\ndef f60(): raise ValueError('deep')", names)
    with pytest.raises(ValueError, match="deep") as caught:
        names["f0"]()
    lines = record_of(caught.value)["traceback"].splitlines()
    frames = [line.rpartition(" in ")[2] for line in lines if line.startswith("  File")]
    assert frames == [f"f{n}" for n in range(11, 61)]


def test_args_of_just_the_limit_are_kept():
    frame = len(b'{"$":"v","v":{"$":"tuple","v":[""]}}')
    fits = "x" * (32 * 1024 - frame)
    assert there_and_back(ValueError(fits)).args == (fits,)
    assert type(there_and_back(ValueError(fits + "x"))) is TaskError


def test_attributes_share_a_limit_and_what_does_not_fit_is_left_out():
    error: Any = ValueError()
    error.a = "x" * 20_000
    error.b = "y" * 20_000
    error.c = "z" * (32 * 1024 - 20_000 - len('a""') - len('c""'))
    assert record_of(error)["state"] == {"a": error.a, "c": error.c}
    error.c += "z"
    assert record_of(error)["state"] == {"a": error.a}
    error.b = ""
    assert record_of(error)["state"] == {"a": error.a, "b": ""}


def test_attributes_that_are_no_names_of_ours_are_left_out():
    error = ValueError()
    vars(error).update({"é": 1, "__own": 2, "_half": 3, "good": 4})
    assert record_of(error)["state"] == {"_half": 3, "good": 4}


def test_sixteen_records_are_kept_of_causes_contexts_and_members_together():
    def counted(record):
        inner = [record.get("cause"), record.get("context"), *record.get("members", ())]
        return 1 + sum(counted(each) for each in inner if each and "LeftOut" not in each["type"])

    first = ExceptionGroup("first", [ValueError(n) for n in range(10)])
    second = ExceptionGroup("second", [ValueError(n) for n in range(10)])
    outer = KeyError()
    outer.__cause__, outer.__context__ = first, second
    record = record_of(outer)
    assert counted(record) == 16
    assert "and 7 more" in record["context"]["members"][-1]["message"]
    assert record["context"]["members"][-1]["type"] == "perdure.LeftOut"
    few = record_of(ExceptionGroup("few", [ValueError(n) for n in range(15)]))
    assert counted(few) == 16
    assert len(few["members"]) == 15


def test_an_error_that_is_cause_and_context_is_told_as_both():
    inner = KeyError("k")
    try:
        try:
            raise inner
        except KeyError as caught:
            raise ValueError from caught
    except ValueError as caught:
        back = there_and_back(caught)
    assert repr(back.__cause__) == repr(back.__context__) == "KeyError('k')"


def test_a_record_with_more_levels_than_are_written_is_read_to_the_sixteenth():
    for name, member in [
        ("cause", lambda inner: {"cause": inner}),
        ("context", lambda inner: {"context": inner}),
    ]:
        record: dict[str, Any] = {"type": "builtins.ValueError", "message": "", "args": []}
        for _ in range(30):
            record = {"type": "builtins.ValueError", "message": "", "args": [], **member(record)}
        error, length = decoded(record), 0
        while error is not None:
            error, length = getattr(error, f"__{name}__"), length + 1
        assert length == 16
    record = {"type": "builtins.ValueError", "message": "", "args": []}
    for _ in range(30):
        record = {
            "type": "builtins.ExceptionGroup",
            "message": "m",
            "args": ["g"],
            "members": [record],
        }
    group, length = decoded(record), 1
    while isinstance(group, ExceptionGroup):
        group, length = group.exceptions[0], length + 1
    assert (length, type(group)) == (16, TaskError)


def test_a_decoded_error_in_a_chain_keeps_its_traceback():
    first = there_and_back(raised(ValueError("inner")))
    outer = KeyError("outer")
    outer.__cause__ = first
    back = there_and_back(outer)
    assert recorded_traceback(back.__cause__) == recorded_traceback(first)
    assert recorded_traceback(first).startswith("Traceback (most recent call last):\n")
    group = there_and_back(ExceptionGroup("g", [first]))
    assert recorded_traceback(group.exceptions[0]) == recorded_traceback(first)


def test_a_decoded_error_that_is_raised_again_tells_both_tracebacks():
    first = there_and_back(raised(ValueError("boom")))
    before = recorded_traceback(first)
    assert recorded_traceback(there_and_back(first)) == before
    again = recorded_traceback(there_and_back(raised(first)))
    assert again.startswith(f"{before}\nTraceback (most recent call last):\n")


def test_the_traceback_of_a_task_error_is_what_it_was_made_with():
    assert recorded_traceback(TaskError("t", "m", "text")) == "text"
    assert recorded_traceback(TaskError("t", "m")) == ""
    error = ValueError()
    vars(error)["traceback_text"] = "of its own"
    assert recorded_traceback(error) == ""
    vars(error)["__perdure_traceback__"] = 5
    assert recorded_traceback(error) == ""
    vars(error)["__perdure_traceback__"] = "x" * (BYTES_MAX + 1)
    assert len(recorded_traceback(error)) == BYTES_MAX


@pytest.mark.parametrize(
    ("place", "odd"),
    [(0, 5), (1, "1"), (2, "2"), (3, 5), (4, "4"), (5, "5")],
    ids=["filename", "lineno", "offset", "text", "end_lineno", "end_offset"],
)
def test_a_syntax_error_that_could_not_be_printed_is_a_task_error(place, odd):
    details: list[Any] = ["f.py", 1, 2, "x =", 1, 3]
    arguments: Any = ("bad", details)
    assert type(there_and_back(SyntaxError(*arguments))) is SyntaxError
    details[place] = None
    assert type(there_and_back(SyntaxError(*arguments))) is SyntaxError
    details[place] = odd
    error = SyntaxError()
    error.args = arguments
    back = there_and_back(error)
    assert type(back) is TaskError
    assert back.type_name == "builtins.SyntaxError"


def test_what_is_asked_of_a_record():
    error = noted(raised(OrderError("no ink")), "soon")
    body = encode_exception(error, TypeRegistry())
    assert notes_of(body) == ["soon"]
    assert message_of(body) == "no ink"
    assert headline(body) == "OrderError: no ink"
    assert headline(encode_exception(OrderError(), TypeRegistry())) == "OrderError"
    assert is_record_of(body, OrderError)
    assert not is_record_of(body, Exception)
    assert not is_record_of(body, BookError)


def test_records_of_two_runs_differ_in_their_tracebacks_only():
    def failed(text):
        inner = there_and_back(raised(KeyError("k")))
        error = raised(ValueError(text))
        error.__cause__ = inner
        error.__context__ = ExceptionGroup("g", [there_and_back(raised(OrderError()))])
        return error

    one, other = failed("a"), raised(failed("a"))
    bodies = [encode_exception(each, TypeRegistry()) for each in (one, other, failed("b"))]
    assert len(set(bodies)) == 3
    assert bodies[0].count(b'"traceback"') == 3
    stripped = [without_traceback(body) for body in bodies]
    assert stripped[0] == stripped[1] != stripped[2]
    assert b"traceback" not in stripped[0]
    assert json.loads(stripped[0])["cause"]["type"] == "builtins.KeyError"


def test_notes_of_ours_come_last_and_push_out_those_over_the_limit():
    body = encode_exception(noted(ValueError("v"), "a", "b"), TypeRegistry())
    assert notes_of(with_notes(body, ["c"])) == ["a", "b", "c"]
    assert notes_of(with_notes(body, [])) == ["a", "b"]
    assert message_of(with_notes(body, ["c"])) == "v"
    full = encode_exception(noted(ValueError(), *"abcdefgh"), TypeRegistry())
    assert notes_of(with_notes(full, ["x", "y"])) == [*"abcdef", "x", "y"]
    (note,) = notes_of(with_notes(encode_exception(ValueError(), TypeRegistry()), ["x" * 1025]))
    assert len(note) == 1024


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"type":"x","message":"\xff"}', b'{"type":"x","message":"","cause":' * 2_000],
)
@pytest.mark.parametrize(
    "ask",
    [
        without_traceback,
        notes_of,
        message_of,
        headline,
        lambda body: with_notes(body, ["n"]),
        lambda body: is_record_of(body, ValueError),
    ],
)
def test_damaged_records_give_one_error(body, ask):
    with pytest.raises(DeserializationError, match=r"^a recorded exception cannot be read \(.+\)"):
        ask(body)


def test_a_record_over_the_limit_is_not_read():
    body = json.dumps({"type": "x", "message": "y" * BYTES_MAX}).encode()
    with pytest.raises(
        DeserializationError, match=r"^a recorded exception: at \$: .*the limit is 8,388,608\."
    ):
        decoded(body)


def test_what_a_record_lacks_is_not_put_on_the_exception():
    back = decoded({"type": "builtins.ValueError", "message": "m", "args": ["m"]})
    assert vars(back) == {}
    assert (back.__cause__, back.__context__, back.__suppress_context__) == (None, None, False)
    unknown = decoded({"type": "shop.Gone", "message": "m"})
    assert (type(unknown), unknown.type_name, unknown.message) == (TaskError, "shop.Gone", "m")


def test_links_do_not_change_whether_the_context_is_shown():
    record = {"type": "builtins.ValueError", "message": "", "args": []}
    back = decoded({**record, "cause": record})
    assert type(back.__cause__) is ValueError
    assert back.__suppress_context__ is False
