"""Where ids live: adding a server moves none, and whoever started one finds it."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from perdure.backends.sharded.placement import Placement, mark

stores = st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=6, unique=True)
made = st.uuids().map(str) | st.binary(min_size=16, max_size=16).map(bytes.hex)
looks_made = st.builds(mark, made, st.integers(1, 8))
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | made | looks_made


@given(stores, ids)
def test_what_any_earlier_list_chose_is_a_candidate_of_every_later_one(stores, id_):
    for length in range(1, len(stores) + 1):
        chosen = Placement(tuple(stores[:length])).candidates(id_)[0]
        assert 1 <= chosen <= length
        for later in range(length, len(stores) + 1):
            assert chosen in Placement(tuple(stores[:later])).candidates(id_)


@given(stores, made, st.data())
def test_an_id_made_by_us_stays_on_the_server_it_names(stores, made, data):
    length = data.draw(st.integers(1, len(stores)))
    position = Placement(tuple(stores[:length])).choose(made, frozenset(range(1, length + 1)))
    for later in range(length, len(stores) + 1):
        assert Placement(tuple(stores[:later])).candidates(mark(made, position))[0] == position


@given(stores, ids)
def test_only_the_new_server_takes_ids_from_the_others(stores, id_):
    before = Placement(tuple(stores[:-1])).candidates(id_)[0]
    after = Placement(tuple(stores)).candidates(id_)[0]
    assert after in (before, len(stores))


def test_ids_are_spread_evenly():
    placement = Placement((b"a" * 16, b"b" * 16, b"c" * 16))
    chosen = [placement.candidates(f"order-{n}")[0] for n in range(3_000)]
    assert all(900 < chosen.count(position) < 1_100 for position in (1, 2, 3))


def test_an_id_of_a_user_with_a_number_at_its_end_is_hashed():
    placement = Placement((b"a" * 16, b"b" * 16))
    chosen = {placement.candidates(f"order-{n}.2")[0] for n in range(50)}
    assert chosen == {1, 2}
    assert placement.candidates(mark(str(uuid.UUID(int=7)), 2))[0] == 2
