"""Several servers and an app on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from perdure import Perdure, wf
from perdure.backends.server import Server
from perdure.backends.sharded import ShardedBackend
from perdure.backends.sharded.placement import Placement


def spread(*servers: Server) -> ShardedBackend:
    return ShardedBackend([(f"s{n}", server) for n, server in enumerate(servers, 1)])


def id_on(backend: ShardedBackend, servers: Sequence[Server], position: int, prefix: str) -> str:
    """An id of a user that is placed on this server."""
    backend.store_id()
    placement = Placement(tuple(server.store_id() for server in servers))
    return next(
        id_ for n in range(100) if placement.candidates(id_ := f"{prefix}-{n}")[0] == position
    )


def make_app(backend: ShardedBackend) -> tuple[Perdure, Counter[str], Any]:
    app = Perdure(backend=backend, grace=0.0)
    ran: Counter[str] = Counter()

    @app.task(name="note")
    def note(who: str) -> str:
        ran[who] += 1
        return who.upper()

    @app.workflow(name="child")
    def child(who: str) -> str:
        return note(who)

    @app.workflow(name="parent")
    def parent(given: list[str]) -> list[str]:
        handles = [child.options(id=id_).start(id_) for id_ in given]
        handles += [child.start(f"own-{n}") for n in range(2)]
        return [handle.result() for handle in handles]

    @app.workflow(name="sleeper")
    def sleeper() -> str:
        wf.sleep(60)
        return "rested"

    return app, ran, (child, parent)
