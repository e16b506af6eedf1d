"""Contract of a backend that can be one of several servers: lists, asks and ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from perdure.backends.base import Finish, ForeignWatch, InvocationRecord, RegisterPut, Suspend
from perdure.backends.server import Ask, End, Outbox, Server, ServerList
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.errors import ServerListMismatch
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import Clock, World

STORES = (bytes([1]) * 16, bytes([2]) * 16, bytes([3]) * 16)
AWAY = InvocationKey("away", 1)
ALL = (1, 2, 3)


def listed(number: int, position: int = 1, *, complete: bool = False) -> ServerList:
    """A list of this many servers."""
    return ServerList(position=position, stores=STORES[:number], complete=complete)


class ServerContract(ContractCase):
    """Subclass it beside `BackendContract` for a backend that can be one of several servers."""

    @pytest.fixture
    def server(self, clock: Clock, tmp_path: Path) -> Iterator[Server]:
        """The backend under test as a server, empty."""
        made = cast("Server", self.make_backend(clock, tmp_path))
        yield made
        made.close()

    @pytest.fixture
    def here(self, server: Server, clock: Clock) -> World:
        """The server with short words for it."""
        return World(server, clock)

    # --- lists -----------------------------------------------------------------------------------

    def test_a_list_is_kept_as_it_was_published(self, server: Server) -> None:
        assert server.server_list() is None
        for given in (listed(2), listed(2, complete=True), listed(3)):
            server.publish(given)
            assert server.server_list() == given

    def test_nothing_begins_under_an_older_list(self, here: World, server: Server) -> None:
        record = here.running("before")
        server.publish(listed(2))
        put = RegisterPut(app="app", workflow_type="t", workflow_id="i", key="k", body=b"1")
        with pytest.raises(ServerListMismatch, match="list of 1 server, and a list of 2"):
            here.start("late")
        with pytest.raises(ServerListMismatch):
            here.try_commit(record, b"1", children=(here.new("child"),))
        with pytest.raises(ServerListMismatch):
            server.register_put(put)
        assert server.read("late") is None
        assert server.read("child") is None
        assert server.register_get("app", "t", "i", "k") is None
        assert here.read(record.key) == record
        here.commit(record, b"1")
        server.go_by(2)
        assert here.start("now").key == InvocationKey("now", 1)
        assert server.register_put(put).won

    @pytest.mark.parametrize(
        "wrong",
        [
            listed(1),
            listed(2, position=2),
            ServerList(position=1, stores=(STORES[0], STORES[2])),
            ServerList(position=1, stores=(STORES[0], STORES[2], STORES[1])),
        ],
    )
    def test_a_list_that_does_not_continue_the_kept_one(
        self, server: Server, wrong: ServerList
    ) -> None:
        server.publish(listed(2, complete=True))
        with pytest.raises(ServerListMismatch):
            server.publish(wrong)
        assert server.server_list() == listed(2, complete=True)

    def test_a_server_with_work_joins_only_as_the_first(self, here: World, server: Server) -> None:
        here.start()
        with pytest.raises(ServerListMismatch, match="Put the server that has work first"):
            server.publish(listed(2, position=2))
        assert server.server_list() is None
        server.publish(listed(2))

    # --- what is waited for elsewhere ------------------------------------------------------------

    def waiting(self, here: World, id_: str = "a", *positions: int) -> InvocationRecord:
        """A workflow that waits for `AWAY`, which is on server 2 unless others are named."""
        record = here.running(id_)
        watches = tuple(ForeignWatch(AWAY, position) for position in positions or (2,))
        here.commit(record, b"1", foreign_watches=watches, disposition=Suspend())
        return record

    def test_an_ask_stays_until_it_is_sent(self, here: World, server: Server) -> None:
        record = self.waiting(here)
        assert here.read(record.key).state is InvocationState.WAITING
        (ask,) = server.outbox(ALL, 10).asks
        assert (ask.target, ask.position) == (AWAY, 2)
        assert server.outbox(ALL, 10) == Outbox([ask], [])
        server.sent(Outbox([ask]))
        assert server.outbox(ALL, 10) == Outbox([], [])

    def test_the_outbox_gives_what_is_for_servers_that_answer(
        self, here: World, server: Server
    ) -> None:
        self.waiting(here, "a", 2, 3)
        self.waiting(here, "b", 3)
        assert [ask.position for ask in server.outbox([1, 3], 10).asks] == [3, 3]
        assert [ask.position for ask in server.outbox([2], 10).asks] == [2]
        assert len(server.outbox(ALL, 2).asks) == 2

    def test_an_end_elsewhere_is_told_once(self, here: World, server: Server) -> None:
        record = self.waiting(here)
        assert server.accept_ends([AWAY]) == [record.key]
        assert here.sources(record.key) == [AWAY]
        assert here.read(record.key).state is InvocationState.READY
        assert server.accept_ends([AWAY]) == []
        assert here.sources(record.key) == [AWAY]
        assert server.outbox(ALL, 10) == Outbox([], [])

    def test_all_watchers_are_told_in_the_order_they_asked(
        self, here: World, server: Server
    ) -> None:
        other = InvocationKey("other", 1)
        records = [self.waiting(here, id_) for id_ in ("b", "a")]
        here.commit(here.running("c"), foreign_watches=(ForeignWatch(other, 3),))
        told = server.accept_ends([other, AWAY])
        assert told == [*(record.key for record in records), InvocationKey("c", 1)]
        assert here.sources(InvocationKey("c", 1)) == [other]

    def test_a_watcher_that_has_ended_is_not_told(self, here: World, server: Server) -> None:
        record = here.running()
        here.commit(record, foreign_watches=(ForeignWatch(AWAY, 2),))
        here.finish(here.read(record.key))
        assert server.accept_ends([AWAY]) == []
        assert here.sources(record.key) == []
        assert server.outbox(ALL, 10) == Outbox([], [])

    def test_a_watch_that_comes_while_another_is_sent_is_asked_for_itself(
        self, here: World, server: Server
    ) -> None:
        self.waiting(here, "a")
        first = server.outbox(ALL, 10)
        second = self.waiting(here, "b")
        server.accept_ends([AWAY])
        here.claim()
        third = self.waiting(here, "c")
        server.sent(first)
        (ask,) = server.outbox(ALL, 10).asks
        assert ask.row_id not in {each.row_id for each in first.asks}
        assert here.sources(second.key) == [AWAY]
        assert server.accept_ends([AWAY]) == [third.key]

    # --- what others wait for --------------------------------------------------------------------

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_an_end_is_in_the_outbox_from_its_commit_on(
        self, here: World, server: Server, state: InvocationState
    ) -> None:
        record = here.running()
        server.accept_asks([record.key], 2)
        assert server.outbox(ALL, 10) == Outbox([], [])
        here.commit(record, disposition=Finish(state, b"{}"))
        (end,) = server.outbox(ALL, 10).ends
        assert (end.target, end.position) == (record.key, 2)
        assert server.outbox([1, 3], 10).ends == []
        server.sent(Outbox([], [end]))
        assert server.outbox(ALL, 10) == Outbox([], [])

    def test_what_has_ended_or_is_not_there_is_in_the_outbox_at_once(
        self, here: World, server: Server
    ) -> None:
        here.finish(here.running())
        server.accept_asks([InvocationKey("a", 1), InvocationKey("nobody", 1)], 3)
        ends = server.outbox(ALL, 10).ends
        assert [end.target.invocation_id for end in ends] == ["a", "nobody"]

    def test_an_ask_that_comes_again_while_its_end_is_sent_is_answered_again(
        self, here: World, server: Server
    ) -> None:
        record = here.running()
        server.accept_asks([record.key], 2)
        here.finish(record)
        first = server.outbox(ALL, 10)
        server.accept_asks([record.key], 2)
        server.sent(first)
        (end,) = server.outbox(ALL, 10).ends
        assert end.target == record.key

    def test_rows_of_others_are_not_taken_for_ours(self, server: Server) -> None:
        server.sent(Outbox([Ask(77, AWAY, 2)], [End(77, AWAY, 2)]))
        assert server.outbox(ALL, 10) == Outbox([], [])
