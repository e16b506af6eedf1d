"""How functions are named: scripts run and imported, notebooks, static methods, decorators."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import code
import functools
import json

import pytest

from perdure import InvocationState, Retry, wf
from perdure.errors import InvalidIdentifier, RegistrationError, SerializationError
from tests.support.processes import run_python
from tests.support.stores import LONG, run_until_idle

SCRIPT = """
import json
import sys
from dataclasses import dataclass
from perdure import Perdure, wf

app = Perdure("sqlite:///shop.db")


class OutOfStock(Exception):
    pass


@dataclass
class Receipt:
    text: str


@app.task(raises=[OutOfStock])
def pay(cents: int) -> object:
    if not cents:
        raise OutOfStock("none left")
    return Receipt(f"paid {cents} by {__name__}")


app.register(Receipt)


@app.workflow
def order(cents: int) -> object:
    try:
        return pay(cents)
    except OutOfStock as error:
        return type(error).__name__


class Shop:
    @app.workflow
    @staticmethod
    def refund(n: int) -> int:
        return -n


def main(name):
    handle = order.options(id=name).start(5)
    result = handle.result()
    print(json.dumps([order.name, pay.name, Shop.refund.name, type(result).__name__, result.text,
                      order.options(id=name + "-none").start(0).result()]))


if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("package", [False, True])
def test_a_script_that_is_run_and_then_imported_finds_its_own_workflows(tmp_path, package):
    folder = tmp_path
    module = "shop.script" if package else "script"
    if package:
        folder = tmp_path / "shop"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (folder / "script.py").write_text(SCRIPT)
    run = ["-m", "shop.script"] if package else ["script.py"]
    first = json.loads(run_python(*run, "one", folder=tmp_path))
    assert first[:3] == [f"{module}.order", f"{module}.pay", f"{module}.Shop.refund"]
    assert first[3:] == ["Receipt", "paid 5 by __main__", "OutOfStock"]
    imported = f"from {module} import main; main('one')"
    assert json.loads(run_python("-c", imported, folder=tmp_path)) == first
    assert json.loads(run_python(*run, "one", folder=tmp_path)) == first
    backwards = json.loads(
        run_python("-c", f"from {module} import main; main('two')", folder=tmp_path)
    )
    assert backwards[4] == f"paid 5 by {module}"
    assert json.loads(run_python(*run, "two", folder=tmp_path)) == backwards


def test_a_session_without_a_file(tmp_path):
    source = (
        "from perdure import Perdure\napp = Perdure('memory://')\n"
        "@app.workflow\ndef flow(): return 5\nprint(flow.name, flow())"
    )
    assert run_python("-c", source, folder=tmp_path).split() == ["notebook.flow", "5"]


class Notebook:
    """An interactive session that names its cells as IPython does."""

    def __init__(self, app, pattern):
        self.session = code.InteractiveInterpreter({"app": app, "wf": wf, "__name__": "__main__"})
        self.pattern = pattern
        self.cells = 0

    def run(self, source):
        self.cells += 1
        cell = compile(source, self.pattern.format(self.cells), "exec")
        exec(cell, self.session.locals)
        return self.session.locals


CELLS = ["<ipython-input-{}-abc>", "/tmp/ipykernel_123/{}.py", "<stdin>", "<python-input-{}>"]


@pytest.mark.parametrize("pattern", CELLS)
def test_a_cell_can_be_run_again(store, pattern):
    book = Notebook(store.app(), pattern)
    source = (
        "@app.task\ndef pay(n): return ['v1', n]\n\n@app.workflow\ndef flow(n): return pay(n)\n"
    )
    names = book.run(source)
    assert names["flow"](1) == ["v1", 1]
    handle = names["flow"].options(id="a").start(1)
    names = book.run("# mended\n" + source.replace("v1", "v2"))
    assert names["flow"](1) == ["v2", 1]
    assert handle.result(LONG) == ["v2", 1]
    assert names["flow"].options(id="a").start(1) == handle


def test_two_functions_of_one_name_are_refused(memory_store):
    app = memory_store.app()

    @app.task(name="pay")
    def one():
        return 1

    with pytest.raises(RegistrationError, match=r"'pay'.*test_names\.py:\d+.*test_names\.py:\d+"):

        @app.workflow(name="pay")
        def two():
            return 2

    with pytest.raises(RegistrationError, match="'pay'"):

        @app.task(name="other", aliases=["pay"])
        def three():
            return 3

    assert "other" not in app.registry
    assert app.named("pay") is one


class Shop:
    @staticmethod
    def below(n: int) -> int:
        return n + 1


def test_static_methods(store):
    app = store.app()

    class Till:
        @app.task
        @staticmethod
        def inner(n: int) -> int:
            return n + 1

        @staticmethod
        @app.task
        def outer(n: int) -> int:
            return n + 2

        @app.workflow
        @staticmethod
        def flow(n: int) -> list[int]:
            return [Till.inner(n), Till().inner(n), Till.outer(n), Till().outer(n)]

    assert Till.flow(1) == [2, 2, 3, 3]
    assert Till().flow(1) == [2, 2, 3, 3]
    assert Till.inner.name.endswith("test_static_methods.<locals>.Till.inner")


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def bare(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def test_behind_a_decorator_that_wraps(store):
    app = store.app()

    @app.task
    @logged
    def pay(n: int, unit: str = "EUR") -> tuple[int, str]:
        return n, unit

    @app.task
    @logged
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @app.workflow
    @logged
    async def flow(n: int) -> list[object]:
        return [await pay.acall(n), await pay.acall(n=n, unit="EUR"), await fetch(n)]

    @app.workflow
    @logged
    def sync_flow(n: int) -> list[object]:
        return [pay(n), fetch.call(n)]

    assert pay.name.endswith(".pay")
    assert asyncio.run(flow(1)) == [(1, "EUR"), (1, "EUR"), 1]
    assert sync_flow(1) == [(1, "EUR"), 1]
    assert asyncio.run(fetch(2)) == 2


def test_behind_a_decorator_that_does_not_wrap(store):
    app = store.app()

    @app.task(name="pay")
    @bare
    def pay(n: int, unit: str = "EUR") -> tuple[int, str]:
        return n, unit

    @app.workflow(name="flow")
    @bare
    def flow(n: int) -> tuple[int, str]:
        return pay(n, unit="USD")

    assert flow(n=1) == (1, "USD")
    assert flow.options(id="a").start(1) == flow.options(id="a").start(1)


def test_an_async_function_behind_a_decorator_that_hides_it(store):
    """Nothing tells that it is async before it runs; what happens then must be clear."""
    app = store.app()

    @app.task(name="hidden")
    @bare
    async def hidden(n: int) -> int:
        return n

    @app.workflow(name="flow")
    def flow(n: int) -> int:
        return hidden(n)

    with pytest.raises(SerializationError, match=r"'hidden'.*functools\.wraps"):
        flow(3)


def test_classes_with_call_and_partials_need_a_name(store):
    app = store.app()

    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, m: int) -> int:
            return self.n + m

    with pytest.raises(RegistrationError, match="name="):
        app.task(Adder(1))
    add = app.task(name="add")(Adder(1))
    both = app.task(name="both")(functools.partial(lambda a, b: [a, b], 1))

    @app.workflow(name="flow")
    def flow() -> list[object]:
        return [add(2), both(3)]

    assert flow() == [3, [1, 3]]


@pytest.mark.parametrize("wrong", ["name", None, 7, [], object()])
@pytest.mark.parametrize("kind", ["task", "workflow"])
def test_what_cannot_be_called_is_refused(memory_store, wrong, kind):
    decorate = getattr(memory_store.app(), kind)
    with pytest.raises(RegistrationError, match=r"not callable.*@app"):
        decorate(name="x")(wrong)
    if wrong is not None:
        with pytest.raises(RegistrationError, match="not callable"):
            decorate(wrong)


def test_what_is_decorated_twice_is_refused(memory_store):
    app = memory_store.app()

    @app.task(name="t")
    def task():
        return 1

    with pytest.raises(RegistrationError, match="registered already"):
        app.workflow(task)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256])
def test_names_that_no_backend_could_hold(memory_store, name):
    app = memory_store.app()
    for use in ({"name": name}, {"aliases": [name]}):
        with pytest.raises(InvalidIdentifier):
            app.task(**use)(lambda: 1)


@pytest.mark.parametrize("way", ["call", "start", "memo", "child"])
def test_recorded_work_is_found_under_an_alias(store, way):
    """A function is renamed while a workflow is under way; its old name is now an alias."""
    ran = []

    def declare(app, suffix, aliases):
        @app.task(
            name="pay" + suffix, aliases=["pay" + a for a in aliases], retry=Retry(attempts=2)
        )
        def pay(n: int) -> int:
            ran.append(n)
            return n

        @app.workflow(name="child" + suffix, aliases=["child" + a for a in aliases])
        def child(n: int) -> int:
            ran.append(n)
            return n

        @app.workflow(name="flow" + suffix, aliases=["flow" + a for a in aliases])
        def flow() -> int:
            got = {
                "call": lambda: pay(1),
                "start": lambda: pay.start(1).result(),
                "memo": lambda: wf.execute_task(pay, 1).result(),
                "child": lambda: child.options(id="c").start(1).result(),
            }[way]()
            wf.sleep(50)
            return got + 1

        return flow

    before = store.app(virtual=True, local_worker=False)
    handle = declare(before, "", []).options(id="f").start()
    run_until_idle(before)
    assert ran == [1]
    after = store.app(virtual=True, local_worker=False)
    flow = declare(after, "_new", [""])
    store.env.advance(100)
    run_until_idle(after)
    assert flow.get("f").result(1) == 2
    assert flow.options(id="f").start() == flow.get("f")
    assert handle.status is InvocationState.COMPLETED
    assert ran == [1]
