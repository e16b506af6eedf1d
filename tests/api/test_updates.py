"""Updates: validated at the sender, accepted once, answered once, and the answer is kept."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from perdure import wf
from perdure.errors import (
    InvocationEnded,
    MessageInvalid,
    NotInWorkflow,
    OperationRefused,
    ReceiveTimeout,
    RegistrationError,
    UnknownName,
    UpdateAnswered,
    UpdateTimeout,
    UpdateUnanswered,
    WrongColour,
)
from tests.support.stores import LONG, run_until_idle


@dataclass
class Item:
    name: str
    cents: int


class TooDear(Exception):
    pass


def cart_on(app):
    """Takes items; "bomb" makes its block raise, "last" ends it without another."""

    @app.workflow(name="cart", raises=[TooDear])
    def cart() -> int:
        items: dict[str, int] = {}
        while "last" not in items:
            try:
                with wf.receive_update("add", Item) as update:
                    item = update.value
                    if item.name == "bomb":
                        raise TooDear("it exploded")
                    items[item.name] = item.cents
                    wf.set_data("items", items)
                    update.answer(sum(items.values()))
            except (TooDear, MessageInvalid):
                continue
        return sum(items.values())

    @cart.update_validator("add")
    def check(data: Mapping[str, Any], item: Item) -> None:
        if item.name in data.get("items", {}):
            raise TooDear(f"{item.name} is there already")

    return cart


def test_an_answer_and_the_data_it_tells_of(store):
    app = store.app()
    handle = cart_on(app).start()
    assert handle.update("add", Item("pen", 2), timeout=LONG) == 2
    assert handle.get_data("items") == {"pen": 2}, "committed with the answer"
    assert handle.update("add", Item("ink", 3), int, timeout=LONG) == 5
    with pytest.raises(TooDear, match="it exploded"):
        handle.update("add", Item("bomb", 1), timeout=LONG)
    assert handle.update("add", Item("last", 1), timeout=LONG) == 6
    assert handle.result(LONG) == 6
    with pytest.raises(InvocationEnded):
        handle.update("add", Item("late", 1))


def test_a_refusal_leaves_no_trace(store):
    app = store.app(virtual=True, local_worker=False)
    handle = cart_on(app).start()
    before = app.runtime.backend.read(*handle.key)
    for value, error in ((7, MessageInvalid), ({"name": "x"}, MessageInvalid)):
        with pytest.raises(error, match="Nothing was sent"):
            handle.update("add", value, id="u")
    assert app.runtime.backend.read(*handle.key) == before
    assert app.runtime.backend.read_inbox(handle.key) == []
    with pytest.raises(UpdateTimeout):
        handle.update("add", Item("pen", 2), timeout=0, id="u")


def test_asked_again_with_the_same_id(store):
    app = store.app(virtual=True, local_worker=False)
    handle = cart_on(app).start()
    for _ in range(2):
        with pytest.raises(UpdateTimeout, match="id='click-1'"):
            handle.update("add", Item("pen", 2), timeout=0, id="click-1")
    run_until_idle(app)
    with pytest.raises(UpdateTimeout):
        handle.update("add", Item("last", 3), timeout=0, id="click-2")
    run_until_idle(app)
    other = store.app(virtual=True, local_worker=False)
    cart_on(other)
    for each in (handle, other.invocation(handle.invocation_id)):
        assert each.update("add", Item("pen", 2), timeout=0, id="click-1") == 2
        assert each.update("add", Item("last", 3), timeout=0, id="click-2") == 5
    with pytest.raises(TooDear, match="pen is there already"):
        handle.update("add", Item("pen", 2), timeout=0, id="click-3")


def test_many_at_a_time_in_async_code(store):
    app = store.app()

    @app.workflow(name="flow")
    async def flow() -> int:
        total = 0
        while total < 10:
            async with wf.receive_update_async("add", int) as update:
                total += update.value
                update.answer(total)
        return total

    handle = flow.start()

    async def main() -> list[int]:
        with pytest.raises(WrongColour, match=r"await invocation\.update_async"):
            handle.update("add", 1)
        asked = [handle.update_async("add", number, timeout=LONG) for number in (1, 2, 3, 4)]
        return sorted(await asyncio.gather(*asked))

    totals = asyncio.run(main())
    assert totals[-1] == handle.result(LONG) == 10
    assert len(set(totals)) == 4


def test_ended_without_an_answer(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None:
        wf.receive("go")

    handle = flow.start()
    with pytest.raises(UpdateTimeout):
        handle.update("nobody reads this", 1, timeout=0, id="u")
    handle.send("go")
    run_until_idle(app)
    with pytest.raises(UpdateUnanswered, match="'nobody reads this'"):
        handle.update("nobody reads this", 1, timeout=0, id="u")


def test_answers_are_given_once(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> str:
        told = ""
        with wf.receive_update("add") as update:
            update.answer("first")
            try:
                update.refuse(ValueError("second"))
            except UpdateAnswered as error:
                told = str(error)
        with wf.receive_update("add"):
            pass
        return told

    handle = flow.start()
    assert handle.update("add", timeout=LONG) == "first"
    assert handle.update("add", timeout=LONG) is None, "a block without an answer"
    assert "'add'" in handle.result(LONG)


def test_the_wrong_type_is_told_to_both(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            with wf.receive_update("add", int):
                pass
        except MessageInvalid as error:
            return str(error)
        return ""

    handle = flow.start()
    with pytest.raises(MessageInvalid, match="does not fit"):
        handle.update("add", "seven", timeout=LONG)
    assert "does not fit" in handle.result(LONG)


def test_updates_and_messages_do_not_mix(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        seen: list[Any] = []
        try:
            with wf.receive_update("add", timeout=0):
                pass
        except ReceiveTimeout:
            seen.append("no update")
        return [*seen, wf.receive("add", timeout=0, default="no message")]

    handle = flow.start()
    handle.send("add", "a message")
    run_until_idle(app)
    store.env.advance(1)
    run_until_idle(app)
    assert handle.result(1) == ["no update", "a message"]


def test_bad_input(store):
    app = store.app(local_worker=False)
    cart = cart_on(app)

    @cart.update_validator("clear")
    def check(data: Any, value: Any) -> Any:
        return False

    @app.task(name="pay")
    def pay() -> None: ...

    with pytest.raises(RegistrationError, match="returned False"):
        cart.start().update("clear")
    with pytest.raises(RegistrationError, match="a validator of update 'add' already"):
        cart.update_validator("add")(check)
    with pytest.raises(OperationRefused, match="is a task"):
        pay.start().update("add")
    with pytest.raises(UnknownName):
        app.start("elsewhere").update("add")
    with pytest.raises(NotInWorkflow), wf.receive_update("add"):
        pass
