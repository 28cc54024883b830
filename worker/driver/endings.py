"""Endings: how a run ends, and what becomes of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from schemas.events import (
    InputAbandoned,
    InputConsumed,
    InputQueued,
    RunCancelledEvent,
    RunCompletedEvent,
    RunFailedEvent,
)
from schemas.lifecycle import AbandonReason, InputState, RunState
from schemas.outcomes import Abandoned, AbandonedOutcome, CompletedOutcome, Consumed
from schemas.records import BuryInput, InputRecord, RunRecord, Timer, TimerKind
from worker.driver import retry
from worker.driver.arrival import Arrival
from worker.driver.input_table import InputEvent
from worker.driver.ledger import Ledger
from worker.driver.runtime_table import ControlEvent

LEASE_EXPIRED: Final = "lease expired"
_LONGEST_ERROR: Final = 500  # characters: enough to see what it is, and alike ones group
_RECEIPTED: Final = "boundary receipt already committed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed, and whether trying again may help."""

    error: str
    recoverable: bool


def applied_and_staged(ledger: Ledger) -> tuple[list[InputRecord], list[InputRecord]]:
    """Part the inputs of the current run: those with a receipt, and those without."""
    batch = ledger.batch()
    staged = [record for record in batch if record.state is InputState.STAGED]
    return [record for record in batch if record.state is not InputState.STAGED], staged


def complete(ledger: Ledger, run: RunRecord, result: Any, now: datetime) -> None:  # noqa: ANN401
    """End a run well: what it applied is consumed, with its result."""
    consume(ledger, ledger.batch(), now, result=result)
    _end(ledger, run, ControlEvent.RUN_COMPLETED, now)
    ledger.announce_run(RunCompletedEvent(run.run_id))
    plan = ledger.runtime.retry
    if plan is not None:
        ledger.set_runtime(now, retry=replace(plan, failures=0))


def fail(ledger: Ledger, run: RunRecord, failure: Failure, arrival: Arrival) -> None:
    """End a run that failed.

    What it applied is consumed by its receipts. The others come back in halves, until a culprit
    stands alone; alone, it is given up when its attempts are used up or trying again is no use.
    Only then: what failed in company may be innocent.
    """
    applied, staged = applied_and_staged(ledger)
    consume(ledger, applied, arrival.now, reason=_RECEIPTED)
    _end(
        ledger,
        run,
        ControlEvent.RUN_FAILED,
        arrival.now,
        error=failure.error,
        recoverable=failure.recoverable,
    )
    ledger.announce_run(RunFailedEvent(run.run_id, failure.error, failure.recoverable))
    if len(run.batch) == 1 and staged and is_spent(ledger, staged[0], failure):
        give_up(ledger, staged[0], failure.error, arrival.now)
    elif staged:
        roll_back(ledger, staged, arrival.now, reason="run failed")
        limit = retry.halved(len(staged))
        plan_retry(ledger, staged, limit, arrival, delayed=failure.recoverable)


def cancel(ledger: Ledger, run: RunRecord, arrival: Arrival) -> None:
    """End a run that was cancelled: nobody's fault, so nothing is halved or given up.

    What comes back waits a little all the same: an executor that cancels whatever it gets must not
    turn its runtime into a hot loop.
    """
    applied, staged = applied_and_staged(ledger)
    consume(ledger, applied, arrival.now, reason=_RECEIPTED)
    _end(ledger, run, ControlEvent.RUN_CANCELLED, arrival.now)
    ledger.announce_run(RunCancelledEvent(run.run_id))
    if staged:
        roll_back(ledger, staged, arrival.now, reason="run cancelled")
        plan_retry(ledger, staged, len(staged), arrival, delayed=True)


def consume(
    ledger: Ledger,
    records: Iterable[InputRecord],
    now: datetime,
    *,
    result: Any = None,  # noqa: ANN401 - whatever the executor returned
    reason: str | None = None,
) -> None:
    """Consume inputs that have a receipt."""
    for record in records:
        ledger.move(record, InputEvent.CONSUME, now, reason=reason, outcome=Consumed())
        ledger.announce_input(InputConsumed(record.input_id, record.last_run_id))
        ledger.complete(record.input_id, record.reply, CompletedOutcome(result))


def roll_back(ledger: Ledger, staged: Sequence[InputRecord], now: datetime, *, reason: str) -> None:
    """Let staged inputs wait where they stood."""
    back = [
        ledger.move(record, InputEvent.ROLLBACK_STAGED, now, reason=reason) for record in staged
    ]
    ledger.lanes.restore(back)
    for record in back:
        ledger.announce_input(InputQueued(record.input_id))


def plan_retry(
    ledger: Ledger,
    back: Sequence[InputRecord],
    batch_limit: int,
    arrival: Arrival,
    *,
    delayed: bool,
) -> None:
    """Plan how inputs that came back are tried again, and set the timer for it."""
    plan = ledger.runtime.retry
    failures = (0 if plan is None else plan.failures) + int(delayed)
    now = arrival.now
    due = now + retry.backoff(ledger.options, failures, arrival.jitter) if delayed else now
    planned = retry.after_failure(
        plan, back, not_before=due, failures=failures, batch_limit=batch_limit
    )
    ledger.set_runtime(now, retry=planned)
    if delayed:
        ledger.pending.timer(TimerKind.RETRY, Timer(TimerKind.RETRY, due))


def is_spent(ledger: Ledger, record: InputRecord, failure: Failure) -> bool:
    """Tell whether an input that failed alone is to be given up."""
    return not failure.recoverable or record.attempt_count >= ledger.options.max_attempts


def give_up(ledger: Ledger, record: InputRecord, error: str, now: datetime) -> None:
    """Abandon an input whose attempts are used up, and have it made a dead letter."""
    abandon(ledger, record, AbandonReason.ATTEMPTS_EXHAUSTED, now)
    attempts = "1 attempt" if record.attempt_count == 1 else f"{record.attempt_count} attempts"
    detail = f"given up after {attempts}: {error[:_LONGEST_ERROR]}"
    ledger.pending.effect(BuryInput(record.input_id, detail))


def abandon(ledger: Ledger, record: InputRecord, reason: AbandonReason, now: datetime) -> None:
    """Abandon an input, wherever it is."""
    happen = ledger.pull if record.state is InputState.QUEUED else ledger.move
    happen(record, InputEvent.ABANDON, now, reason=reason.value, outcome=Abandoned(reason))
    ledger.announce_input(InputAbandoned(record.input_id, reason))
    ledger.complete(record.input_id, record.reply, AbandonedOutcome(reason))


_RUN_STATES: Final = {
    ControlEvent.RUN_COMPLETED: RunState.COMPLETED,
    ControlEvent.RUN_FAILED: RunState.FAILED,
    ControlEvent.RUN_CANCELLED: RunState.CANCELLED,
}


def _end(
    ledger: Ledger,
    run: RunRecord,
    event: ControlEvent,
    now: datetime,
    *,
    error: str | None = None,
    recoverable: bool | None = None,
) -> None:
    ended = replace(run, state=_RUN_STATES[event], error=error, recoverable=recoverable)
    close(ledger, ended, now)
    ledger.control(event, now, current_run_id=None, resting_state=None)


def close(ledger: Ledger, ended: RunRecord, now: datetime) -> None:
    """Write a run as ended, and its lease as over.

    What waits may still have to wait: the run was forced ahead of its time, or the clock jumped
    back. Then somebody must wake the runtime.
    """
    ledger.set_run(replace(ended, ended_at=now, lease_until=None))
    if ended.lease_until is not None:
        ledger.pending.timer(TimerKind.RUN_LEASE, None)
    plan = ledger.runtime.retry
    if plan is not None and plan.not_before > now:
        ledger.pending.timer(TimerKind.RETRY, Timer(TimerKind.RETRY, plan.not_before))
