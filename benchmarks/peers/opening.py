"""Peers, installed and ready, and why others are not."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.environments import UnavailableError, python_of
from benchmarks.peers.side import Database, PeerSide
from benchmarks.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which peers, and how they are installed.

    Attributes:
        cache: for their environments.
        python: that their environments are made from; this one if None.
    """

    names: Sequence[str]
    cache: Path
    python: Path | None = None


def opened_peers(
    asked: Asked, sizes: Sizes, server_url: str | None
) -> tuple[list[PeerSide], list[str]]:
    """The peers that can be measured, and a sentence on each one that cannot."""
    sides: list[PeerSide] = []
    missing: list[str] = []
    for peer in PEERS:
        if peer.name in asked.names:
            try:
                sides.append(_side(peer, asked, sizes, server_url))
            except UnavailableError as error:
                missing.append(f"{peer.label} is not measured: {error}")
    return sides, missing


def _side(peer: Peer, asked: Asked, sizes: Sizes, server_url: str | None) -> PeerSide:
    database: Database | None = None
    if peer.on_postgres:
        if server_url is None:
            raise UnavailableError("there is no PostgreSQL; add --backend postgres")
        database = partial(_database, server_url)
    return PeerSide(peer, python_of(peer.name, asked.cache, asked.python), sizes, database)


@contextlib.contextmanager
def _database(server_url: str) -> Generator[str]:
    from tests.support.postgres import drop_database, make_database  # its driver is an extra

    url = make_database(server_url)
    try:
        yield url
    finally:
        drop_database(server_url, url)
