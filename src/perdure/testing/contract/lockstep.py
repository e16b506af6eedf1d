"""A state machine that drives a backend and the memory backend in lockstep. Needs Hypothesis.

Both get the same clock, store id and calls; every answer must be equal, and after each call so must
everything that can be read. Where the two differ, one of them breaks the contract.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from perdure.backends.base import (
    Backend,
    ClaimRequest,
    Disposition,
    Finish,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    RegisterPut,
    Release,
    RetryLater,
    StartClaim,
    Stop,
    Suspend,
    Transition,
)
from perdure.backends.endings import Ending, options_of
from perdure.backends.letters import Letter
from perdure.backends.limits import QueueLimits, Rate
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import STOPPED, TERMINAL, InvocationState
from perdure.testing.contract.world import SECOND, Clock, sealed

STORE_ID = bytes(range(16))

_IDS = ("a", "b", "c", "ab")
_NAMES = ("n1", "n2")
_OWNERS = ("w1", "w2")
_GENERATIONS = (1, 2)
_QUEUES = ("default", "default", "gpu")

T = TypeVar("T")

_ids = st.sampled_from(_IDS)
_apps = st.sampled_from(("x", "x", "x", "y"))
_keys = st.builds(InvocationKey, _ids, st.sampled_from((1, 1, 1, 2)))
_keys_or_none = st.none() | _keys
_durations = st.sampled_from((0, 1, SECOND, 3 * SECOND))
_offsets = st.sampled_from((0, 0, 0, 0, 0, 0, 1, -1))
_bodies = st.sampled_from((b"", b"null", b"1", b"x" * 5_000))
_new = st.builds(
    NewInvocation,
    invocation_id=_ids,
    app=_apps,
    kind=st.sampled_from(("workflow", "task")),
    name=st.sampled_from(_NAMES),
    arguments=_bodies,
    fingerprint=st.just(bytes(16)),
    call_id=st.just("c"),
    parent=_keys_or_none,
    root=_keys_or_none,
    workflow=_keys_or_none,
    queue=st.sampled_from(_QUEUES),
    limit_key=st.sampled_from(("", "", "k1", "k2")),
    priority=st.sampled_from((0, 0, 5, -5)),
    delay=_durations,
    options=st.sampled_from(
        (b"{}", b"{}", options_of(Ending(2 * SECOND)), options_of(Ending(SECOND, 5)))
    ),
    letters=st.sampled_from(((), (), (Letter(kind="message", name="m1", letter_id="m1"),))),
)
_limits = st.builds(
    QueueLimits,
    concurrency=st.none() | st.integers(0, 2),
    worker_concurrency=st.none() | st.integers(0, 2),
    key_concurrency=st.integers(1, 2),
    rate=st.none() | st.builds(Rate, st.integers(1, 2), st.sampled_from((SECOND, 4 * SECOND))),
)
_ends = st.builds(Finish, state=st.sampled_from(sorted(TERMINAL)), outcome=_bodies)
_stops = st.builds(Stop, state=st.sampled_from(sorted(STOPPED)), reason=st.just("why")) | st.just(
    Stop(InvocationState.PAUSED, "")
)
_dispositions: st.SearchStrategy[Disposition | None] = st.one_of(
    st.none(),
    st.just(Suspend()),
    _ends,
    st.builds(RetryLater, delay=_durations),
    st.just(Release()),
    _stops,
)


class Lockstep(RuleBasedStateMachine):
    """Override `make_backend`, and let pytest collect `TheSubclass.TestCase`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-lockstep-"))
        self.model = MemoryBackend(self.clock, STORE_ID)
        self.tested = self.make_backend(self.clock, STORE_ID, self.folder)
        self.tokens = 0

    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        """An empty backend with this clock and store id."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close the backend and remove its folder."""
        self.tested.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[Backend], T]) -> T:
        """Make one call on both; their answers must be equal."""
        expected, found = call(self.model), call(self.tested)
        assert found == expected, f"found {found}, expected {expected}"
        return expected

    @rule(duration=_durations | st.just(-SECOND))
    def time_passes(self, duration: int) -> None:
        """Move the clock of both; it may step back."""
        self.clock.advance(duration)

    @rule(
        new=_new,
        on_existing=st.sampled_from(("return", "raise", "new_generation_if_failed")),
        owner=st.none() | st.sampled_from(_OWNERS),
    )
    def start(self, new: NewInvocation, on_existing: OnExisting, owner: str | None) -> None:
        """Start an id that may be there; perhaps claim it in the same transaction."""
        claim = None
        if owner is not None:
            new = msgspec.structs.replace(new, delay=0)
            claim = StartClaim(owner=owner, lease=4 * SECOND, token=self.token())
        self.both(lambda backend: backend.start(new, on_existing, claim))

    @rule(
        app=_apps,
        owner=st.sampled_from(_OWNERS),
        names=st.frozensets(st.sampled_from(_NAMES), min_size=1),
        roots=st.none() | st.none() | st.frozensets(_keys, max_size=2),
        queues=st.none() | st.none() | st.frozensets(st.sampled_from(_QUEUES), max_size=2),
        limits=st.dictionaries(st.sampled_from(_QUEUES), _limits, max_size=2),
        limit=st.integers(0, 3),
        lease=st.sampled_from((SECOND, 5 * SECOND)),
        dead_owners=st.frozensets(st.sampled_from(_OWNERS)),
    )
    def claim(self, **asked: object) -> None:
        """Claim what can be claimed."""
        request = ClaimRequest(**asked)  # type: ignore[arg-type]
        self.both(lambda backend: backend.claim(request))

    @rule(
        owner=st.sampled_from(_OWNERS),
        holdings=st.lists(st.builds(Holding, _keys, st.integers(1, 3)), max_size=3),
        actual=st.booleans(),
    )
    def renew(self, owner: str, holdings: list[Holding], *, actual: bool) -> None:
        """Renew guesses, or what is really held."""
        if actual:
            rows = [row for key in self.keys() if (row := self.model.read(*key))]
            holdings = [Holding(row.key, row.epoch) for row in rows]
        self.both(lambda backend: backend.renew(owner, holdings, 4 * SECOND))

    @rule(data=st.data(), size=st.integers(1, 3))
    def commit(self, data: st.DataObject, size: int) -> None:
        """Commit a batch, some of it behind the times."""
        batch = [self.transition(data) for _ in range(size)]
        self.both(lambda backend: backend.commit(batch))

    @rule(key=_keys, name=st.sampled_from(("m1", "m2")), body=_bodies)
    def send(self, key: InvocationKey, name: str, body: bytes) -> None:
        """Send a letter, some of them again."""
        letter = Letter(kind="message", name=name, letter_id=name, body=body)
        self.both(lambda backend: backend.send(key, letter))

    @rule(key=_keys, offset=_offsets, disposition=_ends | _stops)
    def seize(self, key: InvocationKey, offset: int, disposition: Finish | Stop) -> None:
        """End or stop what may be live; most with the right epoch."""
        row = self.model.read(*key)
        epoch, token = max(0, (row.epoch if row else 1) + offset), self.token()
        self.both(lambda backend: backend.seize(key, epoch, token, disposition))

    @rule(key=_keys)
    def resume(self, key: InvocationKey) -> None:
        """Resume what may be stopped."""
        self.both(lambda backend: backend.resume(key))

    @rule(
        app=_apps,
        key=st.sampled_from(("random:1", "random:2")),
        body=_bodies,
        counter=st.none() | st.tuples(st.just("counter:random"), st.integers(0, 12)),
        child=st.none() | _new,
    )
    def register(
        self,
        app: str,
        key: str,
        body: bytes,
        counter: tuple[str, int] | None,
        child: NewInvocation | None,
    ) -> None:
        """Put a value that may be there."""
        identity = {"app": app, "workflow_type": "t", "workflow_id": "i"}
        put = RegisterPut(**identity, key=key, body=body, counter=counter, child=child)
        self.both(lambda backend: backend.register_put(put))
        for stored in (key, "counter:random"):
            self.both(lambda backend: backend.register_get(app, "t", "i", stored))  # noqa: B023

    @rule(
        app=_apps,
        kind=st.none() | st.sampled_from(("workflow", "task")),
        name=st.none() | st.sampled_from(_NAMES),
        states=st.lists(st.sampled_from(InvocationState), max_size=3, unique=True),
        id_prefix=st.none() | st.sampled_from(("", "a", "ab", "z")),
        parent=_keys_or_none,
        limit=st.integers(0, 4),
        after=_keys_or_none,
    )
    def query(self, states: list[InvocationState], **asked: object) -> None:
        """Look at a page."""
        query = InvocationQuery(states=tuple(states), **asked)  # type: ignore[arg-type]
        self.both(lambda backend: backend.query(query))

    @invariant()
    def everything_reads_alike(self) -> None:
        """Rows, journals, inboxes, data and owners of the whole small world."""
        for key in self.keys():
            self.both(lambda backend: backend.read(*key))  # noqa: B023
            self.both(lambda backend: backend.read_journal(key))  # noqa: B023
            self.both(lambda backend: backend.read_journal(key, 1))  # noqa: B023
            self.both(lambda backend: backend.read_inbox(key))  # noqa: B023
            self.both(lambda backend: backend.read_data(key))  # noqa: B023
        for id_ in _IDS:
            self.both(lambda backend: backend.read(id_))  # noqa: B023
        self.both(lambda backend: backend.owners())
        for app in ("x", "y"):
            self.both(lambda backend: self.late(backend, app))  # noqa: B023
        for app in ("x", "y"):
            self.both(lambda backend: backend.queues(app))  # noqa: B023
        self.both(lambda backend: backend.now())

    def late(self, backend: Backend, app: str) -> list[InvocationRecord]:
        """What is past its deadline; rows with one deadline come in any order."""
        return sorted(backend.past_deadline(app, 100), key=lambda record: record.key)

    def token(self) -> bytes:
        """16 bytes that were not used before."""
        self.tokens += 1
        return self.tokens.to_bytes(16, "big")

    def keys(self) -> list[InvocationKey]:
        """Every key of the small world."""
        return [InvocationKey(id_, generation) for id_ in _IDS for generation in _GENERATIONS]

    def transition(self, data: st.DataObject) -> Transition:
        """A transition near what the row allows; most have the right epoch and head."""
        token = self.token()
        key = data.draw(_keys)
        row = self.model.read(*key)
        epoch = max(0, (row.epoch if row else 1) + data.draw(_offsets))
        head = max(0, (row.head if row else 0) + data.draw(_offsets))
        seal = row.head_hash if row else b""
        entries: list[Entry] = []
        for position, body in enumerate(data.draw(st.lists(_bodies, max_size=2)), head):
            entries.append(sealed(position, body, epoch, token, self.clock.at, seal))
            seal = entries[-1].checksum
        timers = st.builds(self.timer, _durations)
        values = st.tuples(st.sampled_from(("d1", "d2")), _bodies)
        return Transition(
            key=key,
            epoch=epoch,
            head=head,
            token=token,
            entries=tuple(entries),
            head_hash=seal,
            children=tuple(data.draw(st.lists(_new, max_size=1))),
            watches=tuple(data.draw(st.lists(_keys, max_size=2))),
            consumed=tuple(data.draw(st.lists(st.integers(1, 6), max_size=2))),
            data=tuple(data.draw(st.lists(values, max_size=2))),
            reset_crashes=data.draw(st.booleans()),
            disposition=data.draw(_dispositions | timers),
        )

    def timer(self, duration: int) -> Suspend:
        """A suspension until a time near now."""
        return Suspend(wake_at=self.clock.at + duration - SECOND)
