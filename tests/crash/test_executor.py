"""The standalone executor, killed at every value that it stores."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest

from perdure import DeterministicExecutor, Perdure, WorkflowIdentity
from perdure.backends.base import Backend, InvocationQuery
from perdure.backends.memory import MemoryBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.faults import Fault, FaultyBackend, Mode, MortalEnv, SimulatedCrash

IDENTITY = WorkflowIdentity("standalone", "shop.order")
_calls = itertools.count(1)


class Process:
    """Uses one executor until its end or death.

    Attributes:
        seen: values that were given back, in order.
        generated: which generators ran.
    """

    def __init__(self, store: Backend, fault: Fault | None = None) -> None:
        self.seen: list[Any] = []
        self.generated: list[str] = []
        self.env = MortalEnv()
        self.backend = FaultyBackend(store, self.env, fault)
        self.app = Perdure(backend=self.backend, env=self.env, name="executor")
        self.died = False
        try:
            self._use()
        except SimulatedCrash:
            self.died = True
        self.env.kill()

    def _generate(self, name: str, value: Any) -> Any:
        self.generated.append(name)
        return value

    def _use(self) -> None:
        @self.app.task(name="pay")
        def pay(order: str, cents: int = 5) -> str:
            return f"{order} {cents}"

        executor = DeterministicExecutor(IDENTITY, self.app)
        see = self.seen.append
        see(executor.random())
        see(executor.uuid())
        empty: list[Any] = [None, 0, "", [], False]
        for number, value in enumerate(empty):
            generate = functools.partial(self._generate, f"{number}", value)
            see(executor.record("empty", generate))
        see(executor.record("world", lambda: self._generate("world", next(_calls))))
        see(executor.utc_now())
        see(executor.get_base_time())
        see(executor.execute_task(pay, "a").invocation_id)
        see(executor.execute_task(pay, order="a", cents=5).invocation_id)
        see(executor.execute_task(pay, "b").invocation_id)
        see(executor.record("world", lambda: self._generate("world2", next(_calls))))
        see([executor.bits(7), executor.idempotency_key(), executor.utc_now(), executor.random()])


# What each generator's value is of all that is seen.
PLACES = {"0": 2, "1": 3, "2": 4, "3": 5, "4": 6, "world": 7, "world2": 13}


def check(store: Backend, fault: Fault) -> bool:
    """Whether the fault struck."""
    first = Process(store, fault)
    assert first.died == (fault.mode.is_deadly and first.backend.struck is not None)
    second, third = Process(store), Process(store)
    assert second.seen[: len(first.seen)] == first.seen
    assert third.seen == second.seen
    assert third.generated == []
    assert third.backend.calls == []
    for name in second.generated:
        assert PLACES[name] >= len(first.seen), f"{name} was acknowledged and made again"
    rows = store.query(InvocationQuery(app="executor"))
    assert sorted(row.key.invocation_id for row in rows) == sorted(set(second.seen[10:13]))
    assert second.seen[10] == second.seen[11] != second.seen[12]
    state = third.seen[2:7]
    assert [(type(value), value) for value in state] == [
        (type(None), None),
        (int, 0),
        (str, ""),
        (list, []),
        (bool, False),
    ]
    return first.backend.struck is not None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.STOLEN])
def test_every_stored_value(mode: Mode, kind: str, tmp_path: Path) -> None:
    for number in itertools.count(1):
        store: Backend = (
            MemoryBackend() if kind == "memory" else SQLiteBackend(tmp_path / f"{number}.db")
        )
        struck = check(store, Fault(number, mode))
        store.close()
        if not struck:
            break
    assert number == 18, "one boundary for each value that is stored"
