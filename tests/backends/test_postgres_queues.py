"""Queues in PostgreSQL: how often a claim looks."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from perdure.backends.postgres import PostgresBackend
from perdure.backends.postgres.store import Transaction
from perdure.testing.contract import World
from tests.support.stores import postgres_url

__all__ = ["postgres_url"]


@pytest.fixture
def world(postgres_url, clock):
    backend = PostgresBackend(postgres_url, now=clock)
    yield World(backend, clock)
    backend.close()


def looks_of_claim(world, monkeypatch):
    """How often a claim that takes nothing ran each statement."""
    names: list[str] = []
    rows = Transaction.rows

    caller = threading.get_ident()

    def counted(self, name, *arguments):
        if threading.get_ident() == caller:  # hints are told on a thread of their own
            names.append(name)
        return rows(self, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "rows", counted)
        assert world.claimed(limit=10) == []
    return Counter(names)


def test_many_keys_in_use_are_learnt_at_once(world, monkeypatch):
    keys = [f"key {number}" for number in range(300)]
    for key in keys:
        world.start(key, limit_key=key)
    assert len(world.claimed(limit=300)) == 300
    for key in keys:
        world.start(f"again-{key}", limit_key=key)
    assert looks_of_claim(world, monkeypatch) == {
        "now": 1,
        "due": 2,
        "keys_in_use": 1,
        "next_due": 1,
    }
