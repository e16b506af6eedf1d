"""What others are told: results, ends, messages, data, promises, undos (classes B, C and D)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure.api.client import Client
from perdure.backends.base import Committed, InvocationRecord, Transition
from perdure.backends.endings import Ending, options_of
from perdure.backends.letters import Sent
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.core.retry import Retry
from perdure.engine import attempt, body, control, flows, inbox
from perdure.engine.bodies import BodyRunner, Result
from perdure.engine.body import raised_by_body
from perdure.engine.effects import ControlNow, Now, SendNow, WaitAny
from perdure.engine.flows import attempts
from perdure.engine.outcome import Raised, Returned, recorded_outcome
from perdure.engine.outward import affect
from perdure.errors import InternalError
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_replace = msgspec.structs.replace


@bug("D2", "Who waits for a workflow gets something else than the result on record")
def results_are_cut(patch: Patch) -> None:
    wait = Client.wait

    def cut(self: Client, key: Any, timeout: float | None) -> object:
        value = wait(self, key, timeout)
        return value[:-1] if isinstance(value, list) else value

    patch.setattr(Client, "wait", cut)


@bug("D2", "A workflow is told of another one that it gave something else than it did")
def ends_are_told_wrong(patch: Patch) -> None:

    def wrong(row: InvocationRecord) -> bytes | None:
        is_list = row.state is InvocationState.COMPLETED and row.kind == "workflow"
        return b'["lost"]' if is_list else recorded_outcome(row)

    patch.setattr(inbox, "recorded_outcome", wrong)


@bug("D3", "Whoever waits for what failed is told that it was cancelled")
def failures_are_told_as_cancellations(patch: Patch) -> None:
    failed = InvocationState.FAILED
    patch.setattr(
        inbox,
        "recorded_outcome",
        lambda row: None if row.state is failed else recorded_outcome(row),
    )


@bug("D2", "A message is recorded with another text than it was sent with")
def messages_change(patch: Patch) -> None:
    def changed(text: bytes, value: object) -> Any:
        return Returned(b'"lost"' if text.startswith(b'"main') else text, value)

    patch.setattr(inbox, "Returned", changed)


@bug("B1", "What was registered to undo a workflow is not called when it fails")
def nothing_is_undone(patch: Patch) -> None:
    def nothing(place: Any, undos: Any, failed: Any) -> Any:
        del place, undos
        yield from ()
        return failed

    patch.setattr("perdure.engine.sync_attempt.undo_all", nothing)
    patch.setattr(flows, "undo_all", nothing)


@bug("B1", "The data that a workflow sets is on record, and nobody can read it")
def data_is_not_kept(patch: Patch) -> None:
    apply = MemoryBackend._apply

    def without(self: MemoryBackend, asked: Transition) -> Committed:
        return apply(self, _replace(asked, data=()))

    patch.setattr(MemoryBackend, "_apply", without)


@bug("D10", "A cancellation is said to be on its way and is not")
def cancellations_are_not_sent(patch: Patch) -> None:
    patch.setitem(control.CONTROLS, "cancel", lambda *asked: None)


@bug("D10", "A workflow is said to be terminated and goes on")
def terminated_ones_go_on(patch: Patch) -> None:
    patch.setitem(control.CONTROLS, "terminate", lambda *asked: None)


@bug("D10", "A workflow is said to be paused and goes on")
def paused_ones_go_on(patch: Patch) -> None:
    patch.setattr(control, "pause", lambda *asked: None)


@bug("D3", "An operation of a workflow fails for a reason of ours, on record")
def operations_fail(patch: Patch) -> None:
    def fails(*given: object) -> None:
        raise RuntimeError(f"a bug of ours: {len(given)}")

    patch.setattr(flows, "set_data", fails)


@bug("C7", "A body that failed is tried again at once, without its pause")
def retries_do_not_pause(patch: Patch) -> None:

    def at_once(waits: tuple[Any, ...]) -> Any:
        return Now() if waits[0].due is not None else WaitAny(waits)

    patch.setattr(attempts, "WaitAny", at_once)


@bug("C7", "A body is tried more often than its policy says")
def retries_go_on(patch: Patch) -> None:
    after = Retry.delay_after

    def more(self: Retry, number: int, luck: float) -> float | None:
        return after(self, 1 if number < 8 else number, luck)

    patch.setattr(Retry, "delay_after", more)


@bug("C7", "The body of a pure task runs twice for each of its attempts")
def pure_bodies_run_twice(patch: Patch) -> None:
    here = BodyRunner._here

    def twice(self: BodyRunner, call: Any, context: Any) -> Result:
        if call.function.pure:
            here(self, call, context)
        return here(self, call, context)

    patch.setattr(BodyRunner, "_here", twice)


@bug("D3", "A body that fails is recorded as a fault of ours")
def failures_become_ours(patch: Patch) -> None:
    def ours(function: Any, error: BaseException, types: Any) -> Raised:
        return raised_by_body(function, InternalError(type(error).__name__), types)

    patch.setattr(body, "raised_by_body", ours)


@bug("D1", "The result of a body is recorded as none")
def results_become_none(patch: Patch) -> None:
    returned = body.returned_by_body

    def none(function: Any, value: object, context: Any, types: Any) -> Any:
        ended = returned(function, value, context, types)
        return Returned(b"null", None) if isinstance(ended, Returned) else ended

    patch.setattr(body, "returned_by_body", none)


@bug("D10", "A message wakes what is paused")
def messages_end_a_pause(patch: Patch) -> None:
    wake = MemoryBackend._wake

    def wakes(self: MemoryBackend, key: InvocationKey) -> None:
        row = self._rows[key]
        if row.state is InvocationState.PAUSED:
            self._put(_replace(row, state=InvocationState.READY))
        wake(self, key)

    patch.setattr(MemoryBackend, "_wake", wakes)


@bug("H2", "Each claim of a workflow gives it another deadline")
def claims_put_deadlines_off(patch: Patch) -> None:
    grant = MemoryBackend._grant

    def later(self: MemoryBackend, row: InvocationRecord, *rest: Any) -> InvocationRecord:
        granted = grant(self, row, *rest)
        if granted.epoch == 1 or len(granted.options) <= len(b"{}"):
            return granted
        options = Ending(ends_within=self._clock() - row.created_at + 10_000_000)
        self._rows[row.key] = granted = _replace(granted, options=options_of(options))
        return granted

    patch.setattr(MemoryBackend, "_grant", later)


@bug("D10", "A workflow that cancels another one records that, and nothing else happens")
def children_hear_no_cancellation(patch: Patch) -> None:

    def deaf(runtime: Any, effect: Any) -> object:
        return None if isinstance(effect, ControlNow) else affect(runtime, effect)

    patch.setattr(attempt, "affect", deaf)


@bug("B3", "A message of a workflow is recorded as sent, and is not")
def messages_of_workflows_get_lost(patch: Patch) -> None:

    def lost(runtime: Any, effect: Any) -> object:
        return Sent.ACCEPTED if isinstance(effect, SendNow) else affect(runtime, effect)

    patch.setattr(attempt, "affect", lost)
