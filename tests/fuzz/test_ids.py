"""Names with a grudge, on every backend: refused by a typed error, or back exactly as they were.

Each name that is taken has a row of its own: what is written under one is never found under
another.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import DeterministicExecutor, Perdure, WorkflowIdentity, wf
from perdure.core.identity import GENERATION_MAX, InvocationKey, read_key, validate_identifier
from perdure.errors import (
    InvalidIdentifier,
    InvalidToken,
    InvocationNotFound,
    PerdureError,
)
from tests.support.stores import LONG, Store, memory_store, run_until_idle, sqlite_store, store

__all__ = ["memory_store", "sqlite_store", "store"]

REFUSED: tuple[Any, ...] = (
    *(
        "",
        "\0",
        "a\0",
        "\0a",
        "\n",
        "a\r\nb",
        "\x1b[31m",
        "\x7f",
        "\x80",
        "\u2028",
        "\u202e",
        "\u2066",
    ),
    *("\ud800", "a\udfff", "x" * 256, "x" * 1_000_000, "\U0001f600" * 256),
    *(None, 7, True, 1.5, b"x", bytearray(b"x"), ["x"], ("x",), {"x": 1}),
)
TAKEN = (
    # What means something to SQL, LIKE, GLOB, formats, JSON, paths, shells, URLs and to us.
    *("'", '"', "'; DROP TABLE invocation; --", '" OR 1=1 --', "`", "\\", "\\'", "\\%", ";"),
    *("%", "%%", "a%", "a_", "ab", "a%b", "_", "__", "?", "a?", "*", "a*", "[a]", "[!a]", "{a,b}"),
    *("{}", "{0}", "%s", "%(x)s", "%n", "$1", ":id", ":1", "?1", "@id", "${x}", "#{x}", "{{x}}"),
    *('{"$":"v"}', "[]", "null", "NULL", "None", "true", "nan", "NaN", "1", "01", "1.0", "-1"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "a/b",
        "a\\b",
        "C:x",
        "~",
        "$(id)",
        "|ls",
        "-h",
    ),
    *("a b", " a", "a ", " ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u00ad"),
    *("e\u0301", "\u00e9", "\u212b", "\u00c5", "ß", "ss", "SS", "I", "i", "İ", "\u0131", "ﬁ", "fi"),
    *(
        "A",
        "a",
        "\u0410",
        "a" * 255,
        "\U0001f600" * 255,
        "ü" * 255,
        "\U0010ffff",
        "\ufffd",
        "\ue000",
    ),
    *(
        "a#1",
        "a#2",
        "a:1",
        ":a",
        "a@1",
        "/1:a",
        "root",
        "task:1",
        "random:1",
        "counter:a",
        "message",
    ),
    *("javascript:alert(1)", "<script>alert(1)</script>", "&amp;", "%00", "%2e%2e", "\u0661"),
)


def test_the_two_lists_say_what_a_name_is():
    for name in REFUSED:
        with pytest.raises(InvalidIdentifier):
            validate_identifier(name, "x")
    for name in TAKEN:
        assert validate_identifier(name, "x") == name
    assert len(set(TAKEN)) == len(TAKEN)


def refused_everywhere(use: Callable[[Any], object], names: Any = REFUSED) -> None:
    for name in names:
        with pytest.raises(PerdureError):
            use(name)
            pytest.fail(f"{name!r:.60} was taken")


def test_ids_of_workflows(store: Store) -> None:
    app = store.app()

    @app.workflow(name="flow")
    def flow(number: int) -> str:
        return wf.record("id", lambda: f"{number}")

    refused_everywhere(
        lambda name: flow.options(id=name).start(0), [each for each in REFUSED if each is not None]
    )
    refused_everywhere(app.invocation)
    refused_everywhere(flow.get)
    assert app.workflows() == []
    for number, name in enumerate(TAKEN):
        assert flow.options(id=name).start(number).invocation_id == name
    run_until_idle(app)
    found = app.workflows(limit=1000)
    assert {each.invocation_id for each in found} == set(TAKEN)
    for number, name in enumerate(TAKEN):
        handle = app.invocation(name)
        assert (handle.invocation_id, handle.result(LONG)) == (name, str(number))
        assert flow.options(id=name).start(number).result(LONG) == str(number)
    pages = []
    last = None
    while page := app.workflows(limit=7, after=last):
        pages += [each.invocation_id for each in page]
        last = page[-1]
    assert sorted(pages) == sorted(TAKEN)
    for name in TAKEN:
        for other in (f"{name}x"[:255], f"x{name}"[:255]):
            if other not in TAKEN:
                with pytest.raises(InvocationNotFound):
                    app.invocation(other)


def test_what_is_looked_for(store: Store) -> None:
    """Beginnings of ids and names of functions: nothing in them means more than itself."""
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> None:
        pass

    for name in TAKEN:
        flow.options(id=name).start()
    for prefix in TAKEN:
        found = app.workflows(id_prefix=prefix, limit=1000)
        assert {each.invocation_id for each in found} == {
            id_ for id_ in TAKEN if id_.startswith(prefix)
        }
        assert app.workflows(name=prefix) == []
    some = [each for each in REFUSED if each is not None]
    refused_everywhere(lambda name: app.workflows(name=name), some)
    refused_everywhere(lambda name: app.workflows(id_prefix=name), [each for each in some if each])
    refused_everywhere(lambda name: app.tasks(id_prefix=name), [each for each in some if each])


def test_names_of_functions_and_queues(store: Store) -> None:
    app = store.app()
    flows = {}
    names = [name for name in TAKEN if "," not in name][::3]
    for number, name in enumerate(names):

        @app.workflow(name=name, queue=name)
        def flow(number: int = number) -> int:
            return number

        flows[name] = flow
    refused_everywhere(
        lambda name: app.workflow(name=name)(lambda: None), [e for e in REFUSED if e is not None]
    )
    refused_everywhere(app.named)
    refused_everywhere(lambda name: flow.options(queue=name), [e for e in REFUSED if e is not None])
    refused_everywhere(lambda name: flow.options(queue=name), ["a,b"])
    started = {name: app.named(name).start(number) for number, name in enumerate(names)}
    assert {each.queue: each.ready for each in app.queues()} == dict.fromkeys(names, 1)
    run_until_idle(app)
    for number, name in enumerate(names):
        assert started[name].result(LONG) == number
        assert [each.name for each in app.workflows(name=name)] == [name]


def test_limit_keys(store: Store) -> None:
    """Any text is a key, for a long one is kept as a digest; two of them share no limit."""
    app = store.app()
    app.queue("keyed", key_concurrency=1)

    @app.workflow(name="flow", queue="keyed")
    def flow(number: int) -> int:
        return number

    keys = [*TAKEN, "\0", "\n", "\ud800", "x" * 256, "x" * 257, "x" * 1_000_000, "\u202e"]
    handles = [flow.options(key=key).start(number) for number, key in enumerate(keys)]
    refused_everywhere(lambda key: flow.options(key=key).start(0), ["", object(), {1: object()}])
    run_until_idle(app)
    assert [handle.result(LONG) for handle in handles] == list(range(len(keys)))


def test_names_and_ids_of_messages(store: Store) -> None:
    app = store.app()

    @app.workflow(name="listen")
    def listen(names: list[str]) -> list[list[Any]]:
        return [[wf.receive(name, timeout=LONG), wf.receive(name, timeout=LONG)] for name in names]

    names = [*TAKEN]
    handle = listen.options(id="listener").start(names)
    refused_everywhere(lambda name: handle.send(name, 0))
    refused_everywhere(lambda name: handle.send("x", 0, id=name), [e for e in REFUSED if e])
    refused_everywhere(lambda name: handle.send("x", 0, id=name), ["perdure:", "perdure:cancel"])
    for number, name in reversed(list(enumerate(names))):
        handle.send(name, number, id=name)
        handle.send(name, -1, id=name)  # the same id: taken once
    for number, name in enumerate(names):
        handle.send(name, [number], id=f"2{name}"[:255] if f"2{name}"[:255] not in TAKEN else "")
    run_until_idle(app)
    assert handle.result(LONG) == [[number, [number]] for number in range(len(names))]


def test_names_of_data_streams_and_updates(store: Store) -> None:
    app = store.app()
    names = list(TAKEN)

    @app.workflow(name="teller")
    def teller() -> int:
        for number, name in enumerate(names):
            wf.set_data(name, number)
            wf.publish(name, -number)
        for name in names:
            with wf.receive_update(name) as update:
                update.answer([name, update.value])
        return len([name for number, name in enumerate(names) if wf.get_data(name) == number])

    @app.workflow(name="wrong")
    def wrong(kind: int) -> int:
        calls: list[Callable[[Any], object]] = [
            lambda name: wf.set_data(name, 1),
            lambda name: wf.publish(name, 1),
            lambda name: wf.receive(name, timeout=0),
            lambda name: wf.receive_update(name, timeout=0).__enter__(),
            lambda name: wf.record(name, lambda: 1),
        ]
        refused_everywhere(calls[kind])
        return 1

    handle = teller.options(id="teller").start()
    run_until_idle(app)
    with app:
        for number, name in enumerate(names):
            told = handle.update(name, number, timeout=LONG)
            assert told == [name, number]
        assert handle.result(LONG) == len(names)
        for number, name in enumerate(names):
            assert list(handle.stream(name)) == [-number]
        refused_everywhere(lambda name: list(handle.stream(name)))
        refused_everywhere(lambda name: handle.update(name, 1))
        for kind in range(5):
            assert wrong(kind) == 1


def test_identities_and_keys_of_the_register(store: Store) -> None:
    app = store.app()
    some = TAKEN[::4]
    for name in some:
        for other in ("type", name):
            executor = DeterministicExecutor(WorkflowIdentity(name, other), app)
            assert executor.record("word", partial(list, (name, other)))
    for name in some:
        for other in ("type", name):
            identity = WorkflowIdentity(name, other)
            executor = DeterministicExecutor(identity, app)
            assert executor.record("word", lambda: ["another"]) == [name, other]
            assert app.state_backend.get_workflow_deterministic_value(identity, "word:1") == [
                name,
                other,
            ]
    identity = WorkflowIdentity("an id", "a type")
    for number, name in enumerate(TAKEN):
        app.state_backend.set_workflow_deterministic_value(identity, name, number)
    for number, name in enumerate(TAKEN):
        assert app.state_backend.get_workflow_deterministic_value(identity, name) == number
    executor = DeterministicExecutor(identity, app)
    refused_everywhere(lambda name: WorkflowIdentity(name, "type"))
    refused_everywhere(lambda name: WorkflowIdentity("id", name))
    refused_everywhere(lambda name: executor.record(name, lambda: 1))
    refused_everywhere(lambda name: executor.record(name, lambda: 1), ["counter", "a b", "../a"])
    state = app.state_backend
    # A key is a name with a scope before it and a number behind it, so it may be longer than one.
    keys = [each for each in REFUSED if not (isinstance(each, str) and len(each) == 256)]
    keys += ["x" * 511, "\U0001f600" * 511]
    refused_everywhere(lambda key: state.set_workflow_deterministic_value(identity, key, 1), keys)
    refused_everywhere(lambda key: state.get_workflow_deterministic_value(identity, key), keys)
    for key in ("x" * 510, "\U0001f600" * 510):
        state.set_workflow_deterministic_value(identity, key, key)
        assert state.get_workflow_deterministic_value(identity, key) == key


def test_names_of_schedules(store: Store) -> None:
    app = store.app()

    def declare(name: Any) -> None:
        @app.schedule(name=name, every=timedelta(hours=1))
        @app.task
        def tick() -> None:
            pass

    refused_everywhere(declare, [each for each in REFUSED if each is not None] + ["a@b"])
    names = [name for name in TAKEN if "@" not in name and len(name) < 200][::6]
    for name in names:
        app.schedule(name=name, every=timedelta(hours=1))(app.task(name=f"t{name}")(lambda: None))
    for name in names:
        app.schedules[name].pause(f"because of {name}")
    assert {each.name: each.reason for each in (app.schedules[n].info() for n in names)} == {
        name: f"because of {name}" for name in names
    }


anything = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("%_'\"\\\0\n\u202e\ud800*?[]{}$:#@/.-"),
        st.sampled_from("ab"),
    ),
    max_size=12,
)


@given(st.lists(anything, max_size=20))
def test_any_text_is_refused_or_comes_back(names: list[str]) -> None:
    with Perdure("memory://") as app:
        flow = app.workflow(name="flow")(lambda number: number)
        taken: dict[str, int] = {}
        for number, name in enumerate(names):
            try:
                taken.setdefault(flow.options(id=name).start(number).invocation_id, number)
            except InvalidIdentifier:
                with pytest.raises(InvalidIdentifier):
                    validate_identifier(name, "id")
            except PerdureError:
                assert name in taken  # with other input
        assert {each.invocation_id for each in app.workflows()} == set(taken)


@pytest.mark.parametrize(
    "pair",
    [
        *(("x", 0), ("x", -1), ("x", 2**63), ("x", True), ("x", 1.0), ("x", None), ("x", "1")),
        *(("", 1), ("\0", 1), ("\ud800", 1), (5, 1), (None, 1), ("x" * 256, 1)),
    ],
    ids=ascii,
)
def test_keys_that_no_store_holds(store: Store, pair: tuple[Any, Any]) -> None:
    """In a handle that came as a value, and in a completion token."""
    app = store.app()
    with pytest.raises(InvalidIdentifier):
        read_key(pair)
    try:
        content = bytes(16) + msgspec.msgpack.encode(pair)
    except UnicodeEncodeError:
        return
    token = "perdure-" + base64.urlsafe_b64encode(content).decode().rstrip("=")
    with pytest.raises(InvalidToken):
        app.complete(token)
    with pytest.raises(InvalidToken):
        app.fail(token, ValueError())


def test_the_last_generation(store: Store) -> None:
    key = InvocationKey("x", GENERATION_MAX)
    assert read_key(list(key)) == key
    app = store.app()
    assert app.runtime.backend.read(*key) is None
