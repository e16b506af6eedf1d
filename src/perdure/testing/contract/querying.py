"""Contract of `query` and `health`: what people look at."""

from __future__ import annotations

import msgspec

from perdure.backends.base import InvocationQuery, Stop
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import APP, NAME, SECOND, World


class QueryContract(ContractCase):
    """Filters, the order, and pages that neither repeat nor skip."""

    def ids(self, world: World, query: InvocationQuery) -> list[str]:
        """The ids of one page."""
        return [record.key.invocation_id for record in world.backend.query(query)]

    def test_newest_first_with_whole_records(self, world: World) -> None:
        for id_ in ("b", "a", "c"):
            world.start(id_)
            world.clock.advance(SECOND)
        ended = world.claim(limit=1).records[0]
        world.finish(ended, outcome=b"42")
        page = world.backend.query(InvocationQuery(app=APP))
        assert [record.key.invocation_id for record in page] == ["c", "a", "b"]
        assert page == [world.read(record.key) for record in page]
        assert page[-1].outcome == b"42"

    def test_equally_old_ones_go_by_id_and_generation(self, world: World) -> None:
        for id_ in ("b", "a", "é", "C"):
            world.start(id_)
        first = next(each for each in world.claim().records if each.key.invocation_id == "b")
        world.finish(first, InvocationState.FAILED)
        world.backend.start(world.new("b"), "new_generation_if_failed")
        page = world.backend.query(InvocationQuery(app=APP))
        assert [tuple(record.key) for record in page] == [
            ("é", 1),
            ("b", 2),
            ("b", 1),
            ("a", 1),
            ("C", 1),
        ]

    def test_pages_neither_repeat_nor_skip(self, world: World) -> None:
        for number in range(7):
            world.start(f"i{number}")
            if number % 3 == 0:
                world.clock.advance(1)
        whole = [record.key for record in world.backend.query(InvocationQuery(app=APP))]
        paged: list[InvocationKey] = []
        after: InvocationKey | None = None
        while page := world.backend.query(InvocationQuery(app=APP, limit=2, after=after)):
            assert len(page) <= 2
            paged += [record.key for record in page]
            after = paged[-1]
            world.start(f"new{len(paged)}")
            world.clock.advance(1)
        old = [key for key in paged if not key.invocation_id.startswith("new")]
        assert old == whole
        assert len(set(paged)) == len(paged)

    def test_a_page_after_nothing_known_is_empty(self, world: World) -> None:
        world.start()
        query = InvocationQuery(app=APP, after=InvocationKey("gone", 1))
        assert world.backend.query(query) == []

    def test_each_filter(self, world: World) -> None:
        top = world.start("order-1").key
        world.start("order-2", kind="task", parent=top)
        world.start("ord", name="other", parent=InvocationKey("order-1", 2))
        world.start("order_3", app="app-2")
        world.finish(world.claim(limit=1).records[0])
        completed, ready = InvocationState.COMPLETED, InvocationState.READY
        nothing: set[str] = set()
        for query, expected in (
            (InvocationQuery(app=APP), {"order-1", "order-2", "ord"}),
            (InvocationQuery(app="app-2"), {"order_3"}),
            (InvocationQuery(app="App"), nothing),
            (InvocationQuery(app=APP, kind="task"), {"order-2"}),
            (InvocationQuery(app=APP, name=NAME), {"order-1", "order-2"}),
            (InvocationQuery(app=APP, states=(completed,)), {"order-1"}),
            (InvocationQuery(app=APP, states=(ready, completed)), {"order-1", "order-2", "ord"}),
            (InvocationQuery(app=APP, states=(ready,)), {"order-2", "ord"}),
            (InvocationQuery(app=APP, states=(ready,), kind="task"), {"order-2"}),
            (InvocationQuery(app=APP, states=(ready,), name=NAME, id_prefix="o"), {"order-2"}),
            (InvocationQuery(app=APP, states=(ready,), parent=top), {"order-2"}),
            (InvocationQuery(app=APP, id_prefix="order"), {"order-1", "order-2"}),
            (InvocationQuery(app=APP, id_prefix="Ord"), nothing),
            (InvocationQuery(app=APP, id_prefix="%"), nothing),
            (InvocationQuery(app=APP, id_prefix=""), {"order-1", "order-2", "ord"}),
            (InvocationQuery(app=APP, parent=top), {"order-2"}),
            (InvocationQuery(app="app-2", parent=top), nothing),
            (InvocationQuery(app=APP, parent=top, kind="workflow"), nothing),
            (InvocationQuery(app=APP, limit=0), nothing),
        ):
            assert set(self.ids(world, query)) == expected, query

    def test_what_is_ready_or_running_is_paged_too(self, world: World) -> None:
        ready, running = InvocationState.READY, InvocationState.RUNNING
        for number in range(6):
            world.clock.advance(number % 2)
            world.start(f"row-{number}")
        ended, held = world.claim(limit=2).records
        world.finish(ended)
        ids: list[str] = []
        query = InvocationQuery(app=APP, states=(running, ready), limit=2)
        while page := world.backend.query(query):
            ids += [record.key.invocation_id for record in page]
            query = msgspec.structs.replace(query, after=page[-1].key)
        rows = [f"row-{number}" for number in (5, 4, 3, 2, 1, 0)]
        assert ids == [row for row in rows if row != ended.key.invocation_id]
        held_ids = self.ids(world, InvocationQuery(app=APP, states=(running,)))
        assert held_ids == [held.key.invocation_id]

    def test_children_are_paged_too(self, world: World) -> None:
        top = world.start("top").key
        for number in range(5):
            world.clock.advance(number % 2)
            world.start(f"child-{number}", parent=top, root=top)
        first = world.backend.query(InvocationQuery(app=APP, parent=top, limit=3))
        rest = world.backend.query(InvocationQuery(app=APP, parent=top, after=first[-1].key))
        ids = [record.key.invocation_id for record in [*first, *rest]]
        assert ids == [f"child-{number}" for number in (4, 3, 2, 1, 0)]


class HealthContract(ContractCase):
    """What `doctor` shows."""

    def test_a_healthy_backend_has_facts_and_no_problems(self, world: World) -> None:
        world.finish(world.step(world.running(), b"1"))
        health = world.backend.health()
        assert health.backend
        assert health.facts["invocations completed"] == "1"
        assert health.problems == ()

    def test_what_needs_a_person_is_named_with_its_reason(self, world: World) -> None:
        parked = world.running("parked-one")
        world.dispose(parked, Stop(state=InvocationState.PARKED, reason="it diverged"))
        dead = world.running("dead-one")
        world.dispose(dead, Stop(state=InvocationState.DEAD, reason="it crashed"))
        first, second = world.backend.health().problems
        assert "parked-one" in first
        assert "it diverged" in first
        assert "dead-one" in second
        assert "it crashed" in second
