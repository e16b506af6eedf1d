"""The state machine of `lockstep`, for backends that can be one of several servers."""

from __future__ import annotations

from typing import cast

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import rule

from perdure.backends.base import ForeignWatch, Transition
from perdure.backends.memory_server import MemoryServer
from perdure.backends.server import Outbox, Server, ServerList
from perdure.core.identity import InvocationKey
from perdure.errors import ServerListMismatch
from perdure.testing.contract.lockstep import STORE_ID, Lockstep

_positions = st.sampled_from((1, 2, 3))
_targets = st.builds(InvocationKey, st.sampled_from(("a", "b", "away")), st.just(1))
_stores = tuple(bytes([number]) * 16 for number in (1, 2, 3))


class LockstepServers(Lockstep):
    """Drives lists, asks and ends as well. Row ids are each server's own, so they may differ."""

    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryServer(self.clock, STORE_ID)
        self.boxes: list[tuple[Outbox, Outbox]] = []

    @property
    def servers(self) -> tuple[Server, Server]:
        """The model and what is tested."""
        return cast("Server", self.model), cast("Server", self.tested)

    def transition(self, data: st.DataObject) -> Transition:
        """One that may wait for invocations on other servers too."""
        plain = super().transition(data)
        watches = st.builds(ForeignWatch, _targets, _positions)
        elsewhere = tuple(data.draw(st.lists(watches, max_size=2)))
        return msgspec.structs.replace(plain, foreign_watches=elsewhere)

    @rule(number=_positions, position=st.sampled_from((1, 1, 2)), complete=st.booleans())
    def publish(self, number: int, position: int, *, complete: bool) -> None:
        """Publish a list; most continue the one that is kept."""
        given = ServerList(position=position, stores=_stores[:number], complete=complete)
        outcomes: list[str] = []
        for server in self.servers:
            try:
                server.publish(given)
                outcomes.append("kept")
            except ServerListMismatch as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        self.both(lambda backend: cast("Server", backend).server_list())
        kept = self.servers[0].server_list()
        for server in self.servers:
            server.go_by(kept.number if kept else 1)

    @rule(keys=st.lists(_targets, min_size=1, max_size=3), position=_positions)
    def accept_asks(self, keys: list[InvocationKey], position: int) -> None:
        """Another server asks for ends."""
        for server in self.servers:
            server.accept_asks(keys, position)

    @rule(keys=st.lists(_targets, min_size=1, max_size=3))
    def accept_ends(self, keys: list[InvocationKey]) -> None:
        """Ends come from other servers."""
        self.both(lambda backend: cast("Server", backend).accept_ends(keys))

    @rule(positions=st.lists(_positions, max_size=3, unique=True), limit=st.integers(0, 3))
    def look(self, positions: list[int], limit: int) -> None:
        """Look at the outbox."""
        model, tested = (server.outbox(positions, limit) for server in self.servers)
        assert _shape(tested) == _shape(model)
        self.boxes.append((model, tested))

    @rule(number=st.integers(0, 20))
    def sent(self, number: int) -> None:
        """What was seen, now or long ago, has arrived."""
        if self.boxes:
            for server, box in zip(self.servers, self.boxes[number % len(self.boxes)], strict=True):
                server.sent(box)


def _shape(box: Outbox) -> list[tuple[InvocationKey, int]]:
    asks = [(ask.target, ask.position) for ask in box.asks]
    return asks + [(end.target, end.position) for end in box.ends]
