"""Draws, scopes, retries, identities and states: pure functions and tables."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.draws import DrawSource, derive_id, derive_seed
from perdure.core.identity import (
    GENERATION_MAX,
    InvocationKey,
    WorkflowIdentity,
    read_key,
    validate_identifier,
)
from perdure.core.lifecycle import (
    RESUMABLE,
    STOPPED,
    TERMINAL,
    TRANSITIONS,
    InvocationState,
    may_move,
)
from perdure.core.retry import ATTEMPTS_MAX, NO_RETRY, SECONDS_MAX, Retry, seconds
from perdure.core.scope import BITS_MAX, NUMBER_BYTES, TICK, Scope
from perdure.errors import ConfigurationError, InvalidIdentifier, ValueTooLarge

STORE = b"s" * 16


def ignore(*_) -> None:
    """A fresh draw is nobody's concern here."""


def seed_of(name, generation=1):
    return derive_seed(STORE, "app", "type", name, generation)


def test_uuids_of_many_workflows_do_not_collide():
    """122 random bits each: by the birthday bound n**2 / 2**123, ten million draws collide with a
    chance of about 1e-23, so a single collision here would mean that the draws are not random.

    PERDURE_TEST_UUIDS=10000000 draws them all (it takes a minute and two gigabytes).
    """
    wanted = int(os.environ.get("PERDURE_TEST_UUIDS", "300000"))
    each = 1_000
    seen: set[bytes] = set()
    for workflow in range(wanted // each):
        source = DrawSource(seed_of(f"w{workflow}"), "")
        seen.update(bytes.fromhex(source.uuid(n).replace("-", "")) for n in range(1, each + 1))
    assert len(seen) == wanted // each * each


def test_seeds_depend_on_every_part_and_on_where_it_ends():
    parts = [
        (STORE, "app", "type", "id", 1),
        (b"t" * 16, "app", "type", "id", 1),
        (STORE, "app2", "type", "id", 1),
        (STORE, "app", "type2", "id", 1),
        (STORE, "app", "type", "id2", 1),
        (STORE, "app", "type", "id", 2),
        (STORE, "apptype", "", "id", 1),
        (STORE, "app", "typeid", "", 1),
    ]
    seeds = {derive_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert {len(seed) for seed in seeds} == {32}


def test_draws_are_fixed_by_seed_scope_kind_and_ordinal():
    """The very values: a change of them would break every journal, and needs a new ALGORITHM."""
    source = DrawSource(bytes(32), "")
    assert source.random(1) == DrawSource(bytes(32), "").random(1)
    other = DrawSource(bytes(32), "/1")
    for draw in ("random", "uuid", "idempotency_key"):
        values = {getattr(source, draw)(n) for n in range(1, 50)}
        assert len(values) == 49
        assert getattr(other, draw)(1) not in values
    assert source.bits(1, 64) != source.bits(2, 64)
    assert source.bits(1, 64) != other.bits(1, 64)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**40), st.integers(0, 2000))
def test_draws_keep_their_ranges(seed, ordinal, width):
    source = DrawSource(seed, "/3/1")
    assert 0 <= source.random(ordinal) < 1
    assert (source.random(ordinal) * 2**53).is_integer()
    parsed = uuid.UUID(source.uuid(ordinal))
    assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert str(parsed) == source.uuid(ordinal)
    assert len(source.idempotency_key(ordinal)) == 32
    assert 0 <= source.bits(ordinal, width) < 2**width


def test_bits_use_their_whole_width():
    source = DrawSource(seed_of("a"), "")
    for width in (1, 8, 53, 512, 513, 1500):
        assert max(source.bits(n, width).bit_length() for n in range(1, 60)) == width


def test_derived_ids_depend_on_where_their_parts_end():
    ids = {
        derive_id(b"k" * 32, *parts)
        for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("", "ab"), ("b", "a"))
    }
    assert len(ids) == 5
    assert all(len(each) == 32 for each in ids)


# --- scopes -------------------------------------------------------------------------------------


def test_a_scope_counts_each_kind_by_itself():
    fresh = []
    scope = Scope("", seed_of("a"), 0, lambda *_: fresh.append(1))
    scope.random()
    scope.random()
    scope.uuid()
    scope.utc_now()
    scope.bits(9)
    scope.idempotency_key()
    scope.sequence("nothing yet")
    assert scope.counts() == {"random": 2, "uuid": 1, "time": 1, "bits": 1, "key": 1}
    assert len(fresh) == 6
    assert [scope.next_branch(), scope.next_branch()] == ["/1", "/2"]
    assert Scope("/2", seed_of("a"), 0, ignore).next_branch() == "/2/1"


def test_a_scope_tells_of_each_draw_once_and_how_long_it_is():
    told = []
    scope = Scope("/1", seed_of("a"), 5, lambda scope, size: told.append((scope.path, size)))
    assert (scope.commands, scope.branches, scope.clock, scope.recorded) == (0, 0, 5, ())
    assert (scope.numbers, scope.sequences) == ({}, {})
    scope.sequence("uuid").recorded[:] = ["recorded"]
    assert scope.uuid() == "recorded"
    assert told == []
    scope.random()
    scope.utc_now()
    assert scope.uuid() == scope.source.uuid(2)
    scope.idempotency_key()
    scope.bits(16)
    width = len(str(scope.sequence("bits").fresh[0]))
    sizes = [NUMBER_BYTES, NUMBER_BYTES, 36, 32, width]
    assert told == [("/1", size) for size in sizes]
    assert scope.sequence("uuid").fresh == [scope.source.uuid(2)]
    assert scope.counts() == {"uuid": 2, "random": 1, "time": 1, "key": 1, "bits": 1}
    assert scope.sequence("novel").count == 0


def test_a_draw_of_more_bits_than_can_be_recorded_is_refused_and_not_counted():
    scope = Scope("", seed_of("a"), 0, ignore)
    with pytest.raises(ValueTooLarge, match=r"8,388,609 random bits.*at most 8,388,608"):
        scope.bits(BITS_MAX + 1)
    assert scope.counts() == {}
    assert 0 < scope.bits(BITS_MAX).bit_length() <= BITS_MAX
    assert scope.counts() == {"bits": 1}


def test_recorded_draws_come_first():
    scope = Scope("", seed_of("a"), 0, ignore)
    scope.sequence("random").recorded[:] = [0, 0.5]
    scope.sequence("bits").recorded[:] = ["ff"]
    scope.sequence("time").recorded[:] = [5 * TICK]
    assert [scope.random(), scope.random()] == [0.0, 0.5]
    assert type(scope.sequence("random").recorded[0]) is int
    assert scope.bits(3) == 255
    assert scope.utc_now() == 5 * TICK
    assert scope.utc_now() == 6 * TICK
    assert scope.random() == scope.source.random(3)


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**9)), max_size=30))
def test_the_workflow_clock_only_goes_forward_and_never_behind_an_event(steps):
    scope = Scope("", seed_of("a"), 1_000, ignore)
    last = scope.clock
    for event in steps:
        if event is None:
            reading = scope.utc_now()
            assert reading == last + TICK
        else:
            scope.event(event)
            assert scope.clock == max(last, event)
        last = scope.clock


# --- retries ------------------------------------------------------------------------------------


def test_delays_grow_up_to_their_limit_and_are_shortened_by_chance():
    retry = Retry(
        attempts=6, wait_initial=1, wait_factor=2, wait_max=timedelta(seconds=5), jitter=0.5
    )
    assert [retry.delay_after(n, 0.0) for n in range(1, 7)] == [1, 2, 4, 5, 5, None]
    assert retry.delay_after(3, 0.5) == 3
    assert NO_RETRY.delay_after(1, 0.0) is None


def test_a_policy_covers_what_it_names_and_by_default_no_signal():
    assert Retry().covers(ValueError())
    assert not Retry().covers(KeyboardInterrupt())
    assert not Retry(on=(OSError,)).covers(ValueError())
    assert Retry(on=(OSError,)).covers(ConnectionError())


def test_the_policies_that_are_given_without_any():
    usual = Retry()
    assert (usual.attempts, usual.wait_initial, usual.wait_max) == (3, 1.0, 300.0)
    assert (usual.wait_factor, usual.jitter, usual.on) == (2.0, 0.5, (Exception,))
    assert Retry(attempts=1) == NO_RETRY
    assert [usual.delay_after(n, 0.0) for n in (1, 2, 3)] == [1.0, 2.0, None]


@pytest.mark.parametrize(
    "edge",
    [
        {"attempts": 1},
        {"attempts": ATTEMPTS_MAX},
        {"wait_factor": 1},
        {"jitter": 0},
        {"jitter": 1},
        {"wait_initial": 0},
        {"wait_max": SECONDS_MAX},
    ],
)
def test_policies_at_the_edge(edge):
    assert ATTEMPTS_MAX == 1_000_000
    policy = Retry(**edge)
    ((name, value),) = edge.items()
    assert getattr(policy, name) == value


def test_what_is_wrong_with_a_policy_is_told():
    for wrong, told in (
        ({"attempts": 0}, r"^Retry\(attempts=0\): expected a whole number from 1 to 1,000,000"),
        ({"attempts": "3"}, r"^Retry\(attempts='3'\): expected a whole number"),
        ({"attempts": True}, r"^Retry\(attempts=True\): expected a whole number"),
        ({"on": ConnectionError}, r"^Retry\(on=.*ConnectionError.*\): expected exception classes"),
        ({"on": ("ValueError",)}, r"^Retry\(on=.*\): expected exception classes in a tuple"),
        ({"wait_factor": 0.5}, r"^Retry\(wait_factor=0\.5\): expected a number from 1 on"),
        ({"wait_factor": "2"}, r"^Retry\(wait_factor='2'\): expected a number"),
        ({"jitter": 2}, r"^Retry\(jitter=2\): expected a number, 0 to 1"),
        ({"jitter": None}, r"^Retry\(jitter=None\): expected a number"),
        ({"wait_initial": -1}, r"^Retry\(wait_initial=\.\.\.\) must be"),
        ({"wait_max": -1}, r"^Retry\(wait_max=\.\.\.\) must be"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            Retry(**wrong)


def test_a_growth_beyond_all_numbers_is_the_limit():
    retry = Retry(attempts=1_000_000, wait_initial=1, wait_factor=10, wait_max=7, jitter=0)
    assert retry.delay_after(999_999, 0.9) == 7


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_a_delay_is_between_its_jittered_bounds(attempt, chance, jitter):
    retry = Retry(attempts=100, wait_initial=0.5, wait_max=60, jitter=jitter)
    full = min(60, 0.5 * 2 ** (attempt - 1))
    delay = retry.delay_after(attempt, chance)
    assert delay is not None
    assert full * (1 - jitter) - 1e-9 <= delay <= full


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), True, "1", None])
def test_durations_that_mean_nothing(wrong):
    with pytest.raises(ConfigurationError, match="pause"):
        seconds(wrong, "pause")


def test_durations_have_a_limit_and_an_error_says_what_was_given():
    assert seconds(0, "pause") == 0.0
    assert seconds(SECONDS_MAX, "pause") == SECONDS_MAX == 3_200_000_000
    wrongs: list[tuple[Any, str]] = [
        (SECONDS_MAX + 1, r"^pause must be at most a hundred years.*got 3200000001"),
        (-1, r"^pause must be finite and not negative, got -1"),
        (float("inf"), r"^pause must be finite.*got inf"),
        ("1", r"^pause must be seconds \(float\) or a timedelta, got str"),
    ]
    for wrong, told in wrongs:
        with pytest.raises(ConfigurationError, match=told):
            seconds(wrong, "pause")


def test_durations_that_do():
    assert seconds(timedelta(minutes=1), "pause") == 60.0
    assert seconds(2, "pause") == 2.0
    assert type(seconds(2, "pause")) is float


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1_000_001},
        {"wait_factor": 0.9},
        {"wait_factor": float("nan")},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"wait_initial": -1},
        {"wait_max": float("inf")},
    ],
)
def test_policies_that_mean_nothing(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Retry(**wrong)


# --- identities and states ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", ["", "x" * 256, "a\tb", "a\x7f", "a\u2028", "\u2066", "\udfff", 1, None]
)
def test_identifiers_that_are_refused(wrong):
    with pytest.raises(InvalidIdentifier, match="the id"):
        validate_identifier(wrong, "the id")
    for part in ({"workflow_id": wrong}, {"workflow_type": wrong}):
        with pytest.raises(InvalidIdentifier):
            WorkflowIdentity(**{"workflow_id": "a", "workflow_type": "b", **part})
    if wrong is not None:
        with pytest.raises(InvalidIdentifier):
            WorkflowIdentity("a", "b", wrong)


def test_identifiers_that_are_fine():
    for fine in ("x", "x" * 255, "order 42", "注文", "a/b:c#d"):
        assert validate_identifier(fine, "the id") == fine
    assert InvocationKey("a", 1) == ("a", 1)
    assert (str(InvocationKey("a", 1)), str(InvocationKey("a", 2))) == ("a", "a#2")
    assert WorkflowIdentity("a", "b", "p").is_subworkflow
    assert not WorkflowIdentity("a", "b").is_subworkflow


def test_keys_that_others_wrote():
    assert read_key(["a", 1]) == InvocationKey("a", 1)
    assert read_key(["a", GENERATION_MAX]) == InvocationKey("a", GENERATION_MAX)
    for wrong in (0, -1, GENERATION_MAX + 1, True, 1.0, "1", None):
        with pytest.raises(InvalidIdentifier, match="generation is"):
            read_key(["a", wrong])
    with pytest.raises(InvalidIdentifier, match="id is empty"):
        read_key(["", 1])
    with pytest.raises(InvalidIdentifier) as caught:
        read_key(["a", "x" * 1000])
    assert len(str(caught.value)) < 200, "what was found is shown in part"


def test_the_table_of_states():
    assert set(TRANSITIONS) == set(InvocationState)
    assert {state.value for state in TERMINAL} == {"completed", "failed", "cancelled", "terminated"}
    for state, targets in TRANSITIONS.items():
        assert (state in TERMINAL) == (not targets)
        for target in InvocationState:
            assert may_move(state, target) == (target in targets)
    assert {state.value for state in STOPPED} == {"parked", "dead"}
    assert STOPPED | {InvocationState.PAUSED} == RESUMABLE
    assert all(may_move(state, InvocationState.READY) for state in RESUMABLE)
    reachable, edge = {InvocationState.READY}, {InvocationState.READY}
    while edge:
        edge = {t for state in edge for t in TRANSITIONS[state]} - reachable
        reachable |= edge
    assert reachable == set(InvocationState)
