"""Normalisation: bringing what a store holds to a state that can go on.

Recovery does it to what activation read; the commands ``recover`` and ``recycle`` do it in place.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from schemas.events import InputConsumed, InputQueued
from schemas.ids import RunId
from schemas.inputs import Durability
from schemas.lifecycle import AbandonReason, InputState, RunState, RuntimeState
from schemas.outcomes import CompletedOutcome, Consumed, Report
from schemas.policy import WakeMode
from schemas.records import InputRecord, RunRecord
from worker.driver import endings, retry
from worker.driver.arrival import Arrival
from worker.driver.input_table import RECOVERY_REASONS, InputEvent
from worker.driver.ledger import Ledger

Receipts = AbstractSet[tuple[RunId, int]]

_ADOPTED: Final = "run {} is alive: it stays current, and its inputs stay staged"
_LOST: Final = "run {} did not survive"
_APPLIED: Final = (InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION)
_KEPT_STATES: Final = (RuntimeState.RETIRED, RuntimeState.STOPPED, RuntimeState.DESTROYED)


def normalize(ledger: Ledger, receipts: Receipts, now: datetime, *, adopt: bool) -> Report:
    """Bring inputs, run and runtime to a state that can go on.

    ``receipts`` holds the (run, sequence) of those that are stored. With ``adopt``, a current run
    whose lease has not expired stays current: its executor is alive elsewhere.
    """
    found, run = len(ledger.active), ledger.run
    details = _settle_run(ledger, now, adopt=adopt)
    requeued, abandoned = _settle_inputs(ledger, receipts, now)
    ledger.lanes.restore(requeued)
    if adopt and run is not None and _has_expired(run, now):
        abandoned += _fail(ledger, run, requeued, now)
    if any(_wakes(record) for record in requeued):
        ledger.keep_going(now)
    ledger.asked_to_wake = ledger.runtime.woken and len(ledger.lanes) > 0
    counts = {
        "inputs_recovered": found,
        "inputs_requeued": len(requeued),
        "inputs_abandoned": abandoned,
    }
    return Report("recover", counts, details)


# --- the run and the runtime ---------------------------------------------------------------------


def _has_expired(run: RunRecord, now: datetime) -> bool:
    return run.lease_until is not None and run.lease_until <= now


def _settle_run(ledger: Ledger, now: datetime, *, adopt: bool) -> tuple[str, ...]:
    run = ledger.run
    if run is not None and adopt and not _has_expired(run, now):
        # Without a lease nobody has taken it yet: its request still waits in the pool.
        return (_ADOPTED.format(run.run_id),)
    if run is not None:
        error = endings.LEASE_EXPIRED if _has_expired(run, now) else "lost at recovery"
        failed = replace(run, state=RunState.FAILED, error=error, recoverable=True)
        endings.close(ledger, failed, now)
    _settle_runtime(ledger, now)
    return () if run is None else (_LOST.format(run.run_id),)


def _settle_runtime(ledger: Ledger, now: datetime) -> None:
    """Without a run the runtime is at rest: as it ended, retired, or idle."""
    runtime = ledger.runtime
    retired = runtime.resting_state is RuntimeState.RETIRED
    resting = RuntimeState.RETIRED if retired else RuntimeState.IDLE
    state = runtime.state if runtime.state in _KEPT_STATES else resting
    if (state, None, None) != (runtime.state, runtime.current_run_id, runtime.resting_state):
        ledger.set_runtime(now, state=state, current_run_id=None, resting_state=None)


def _fail(ledger: Ledger, run: RunRecord, requeued: list[InputRecord], now: datetime) -> int:
    """Go on after a run whose executor died as after any that failed; count what is given up.

    The lease's timer comes too late to do it: it finds that the run has ended. Without this, an
    input that kills its executor while its runtime is out of memory would be run for ever.
    """
    back = [record for record in requeued if record.last_run_id == run.run_id]
    if not back:
        return 0
    failure = endings.Failure(endings.LEASE_EXPIRED, recoverable=True)
    if len(run.batch) == 1 and endings.is_spent(ledger, back[0], failure):
        endings.give_up(ledger, back[0], failure.error, now)
        return 1
    endings.plan_retry(ledger, back, retry.halved(len(back)), Arrival(now), delayed=True)
    return 0


# --- inputs --------------------------------------------------------------------------------------


def _settle_inputs(
    ledger: Ledger, receipts: Receipts, now: datetime
) -> tuple[list[InputRecord], int]:
    """Bring every input that is not part of a live run to rest: those requeued, those given up."""
    adopted = set(() if ledger.run is None else ledger.run.batch)
    requeued: list[InputRecord] = []
    abandoned = 0
    for record in list(ledger.active.values()):
        fate = None if record.input_id in adopted else _fate(record, receipts)
        if fate is InputEvent.RECOVERY_PROVEN:
            _consume(ledger, record, now)
        elif fate is InputEvent.ABANDON:
            endings.abandon(ledger, record, AbandonReason.CANCELLED, now)
            abandoned += 1
        elif fate is not None:
            requeued.append(_requeue(ledger, record, fate, now))
    return requeued, abandoned


def _fate(record: InputRecord, receipts: Receipts) -> InputEvent | None:
    """Tell what recovery does with an input; None leaves it as it is.

    A receipt comes first: what was applied was applied, also if the input was ephemeral.
    """
    applied = record.state in _APPLIED
    if applied and (record.last_run_id, record.last_boundary_sequence) in receipts:
        return InputEvent.RECOVERY_PROVEN
    if record.durability is Durability.EPHEMERAL:
        return InputEvent.ABANDON
    if record.state is InputState.QUEUED:
        return None
    return InputEvent.RECOVERY_UNPROVEN if applied else InputEvent.RECOVERY_NORMALIZED


def _consume(ledger: Ledger, record: InputRecord, now: datetime) -> None:
    event = InputEvent.RECOVERY_PROVEN
    ledger.move(record, event, now, reason=RECOVERY_REASONS[event], outcome=Consumed())
    ledger.announce_input(InputConsumed(record.input_id, record.last_run_id))
    ledger.complete(record.input_id, record.reply, CompletedOutcome())


def _requeue(ledger: Ledger, record: InputRecord, event: InputEvent, now: datetime) -> InputRecord:
    lane = record.lane
    if lane is None and record.policy is not None:
        lane = record.policy.lane
    moved = ledger.move(
        record,
        event,
        now,
        reason=RECOVERY_REASONS[event],
        lane=lane,
        recovery_count=record.recovery_count + (event is InputEvent.RECOVERY_NORMALIZED),
    )
    ledger.announce_input(InputQueued(record.input_id))
    return moved


def _wakes(record: InputRecord) -> bool:
    return record.policy is not None and record.policy.wake_mode is not WakeMode.NONE
