"""Runs: beginning one, and what its executor says of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from msgspec.structs import replace

from schemas.events import InputApplied, InputStaged, RunStartedEvent
from schemas.ids import RunId
from schemas.lifecycle import RunState
from schemas.outcomes import NothingToRun, Ok, Refused, RunStart, Stale
from schemas.records import (
    InputRecord,
    Known,
    ReceiptRecord,
    RequestRun,
    RunRecord,
    Timer,
    TimerKind,
)
from schemas.runs import (
    BoundaryApplied,
    Receipt,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunHeartbeat,
    RunStarted,
)
from worker.driver import endings
from worker.driver.arrival import Arrival
from worker.driver.batching import boundary_of, next_batch
from worker.driver.input_table import InputEvent
from worker.driver.ledger import Ledger
from worker.driver.receipts import SnapshotError, receipt_fault, snapshot_record
from worker.driver.runtime_table import PROCESSES, ControlEvent

RunAnswer = Ok | Stale | Refused

# --- beginning a run -----------------------------------------------------------------------------


def may_start(ledger: Ledger, now: datetime) -> bool:
    """Tell whether a run would begin now."""
    runtime = ledger.runtime
    plan = runtime.retry
    due = plan is None or plan.not_before <= now
    return runtime.woken and due and not runtime.paused and _can_process(ledger)


def _can_process(ledger: Ledger) -> bool:
    runtime = ledger.runtime
    free = runtime.current_run_id is None and runtime.state in PROCESSES
    return free and len(ledger.lanes) > 0


def start(ledger: Ledger, run_id: RunId, now: datetime) -> RunStart | NothingToRun:
    """Begin a run over the next batch, if the runtime can process and anything waits."""
    if not _can_process(ledger):
        return NothingToRun()
    batch = next_batch(ledger)
    staged = [_stage(ledger, record, run_id, now) for record in batch]
    run = RunRecord(
        run_id=run_id,
        state=RunState.REQUESTED,
        boundary=boundary_of(batch[0]),
        batch=tuple(record.input_id for record in staged),
        attempt=max(record.attempt_count for record in staged),
        requested_at=now,
    )
    resting = ledger.runtime.state
    ledger.control(ControlEvent.BEGIN_RUN, now, current_run_id=run_id, resting_state=resting)
    if ledger.runtime.retry is not None:
        ledger.pending.timer(TimerKind.RETRY, None)
    ledger.set_run(run)
    _request(ledger, run)
    return RunStart(run_id, run.batch, run.boundary)


def request_again(ledger: Ledger, now: datetime) -> None:
    """Request the current run anew if nobody has started it for long."""
    run = ledger.run
    patience = timedelta(seconds=ledger.options.request_seconds)
    if run is None or run.state is not RunState.REQUESTED or now - run.requested_at < patience:
        return
    again = replace(run, requested_at=now)
    ledger.set_run(again)
    _request(ledger, again)


def _request(ledger: Ledger, run: RunRecord) -> None:
    """Ask for a run to be performed, on behalf of the first of its inputs that is being traced."""
    traces = (record.traceparent for record in ledger.batch() if record.traceparent is not None)
    ledger.pending.effect(RequestRun(run, next(traces, None)))


def _stage(ledger: Ledger, record: InputRecord, run_id: RunId, now: datetime) -> InputRecord:
    attempt = record.attempt_count + 1
    staged = ledger.pull(
        record, InputEvent.STAGE_FOR_RUN, now, last_run_id=run_id, attempt_count=attempt
    )
    ledger.announce_input(InputStaged(record.input_id, run_id))
    return staged


# --- what the executor says ----------------------------------------------------------------------


def hear(ledger: Ledger, event: RunEvent, arrival: Arrival) -> RunAnswer:
    """Take in a run event."""
    run = ledger.run
    if run is None or run.run_id != event.run_id:
        return _not_current(ledger, event.run_id, arrival.known)
    match event:
        case RunStarted() | RunHeartbeat():
            _extend_lease(ledger, run, arrival.now)
            return Ok()
        case BoundaryApplied():
            return _boundary(ledger, run, event, arrival.now)
        case RunCompleted():
            return _completed(ledger, run, event, arrival.now)
        case RunFailed():
            return _failed(ledger, run, event, arrival)
        case RunCancelled():
            endings.cancel(ledger, run, arrival)
            return Ok()
        case _:
            assert_never(event)


def _not_current(ledger: Ledger, run_id: RunId, known: Known) -> Stale | Refused:
    if run_id in ledger.ended_runs or run_id in known.runs:
        return Stale()
    return Refused(f"run {run_id} was never known here", unknown_run=True)


def _extend_lease(ledger: Ledger, run: RunRecord, now: datetime) -> RunRecord:
    """Let the run live on; its first sign of life starts it."""
    lease = now + timedelta(seconds=ledger.options.lease_seconds)
    if run.state is RunState.REQUESTED:
        ledger.announce_run(RunStartedEvent(run.run_id))
    extended = replace(
        run, state=RunState.RUNNING, started_at=run.started_at or now, lease_until=lease
    )
    ledger.set_run(extended)
    ledger.pending.timer(TimerKind.RUN_LEASE, Timer(TimerKind.RUN_LEASE, lease, run.run_id))
    return extended


def _boundary(ledger: Ledger, run: RunRecord, event: BoundaryApplied, now: datetime) -> RunAnswer:
    receipt = event.receipt
    if receipt.run_id == run.run_id and receipt.sequence < run.next_boundary:
        return Stale()
    fault = receipt_fault(ledger, run, receipt)
    if fault is not None:
        return Refused(fault)
    try:
        snapshot = snapshot_record(event)
    except SnapshotError as error:
        return Refused(str(error))
    if run.state is RunState.REQUESTED:
        run = _extend_lease(ledger, run, now)
    for input_id in receipt.contributing_input_ids:
        _apply(ledger, ledger.active[input_id], receipt, now)
    ledger.set_run(replace(run, next_boundary=receipt.sequence + 1))
    ledger.pending.receipt(ReceiptRecord(receipt, ledger.runtime.epoch, now))
    if snapshot is not None:
        ledger.pending.snapshot(snapshot)
    return Ok()


def _apply(ledger: Ledger, record: InputRecord, receipt: Receipt, now: datetime) -> None:
    applied = ledger.move(record, InputEvent.MARK_APPLIED, now)
    ledger.move(
        applied,
        InputEvent.MARK_APPLIED_PENDING_CONSUMPTION,
        now,
        last_boundary_sequence=receipt.sequence,
    )
    ledger.announce_input(InputApplied(record.input_id, receipt.run_id))


def _completed(ledger: Ledger, run: RunRecord, event: RunCompleted, now: datetime) -> Ok | Refused:
    applied, staged = endings.applied_and_staged(ledger)
    strangers = set(event.consumed_input_ids) - {record.input_id for record in applied}
    if staged or strangers:
        return Refused(
            f"run_completed: {len(staged)} inputs of the batch were never applied, "
            f"consumed_input_ids names {len(strangers)} that this run did not apply"
        )
    endings.complete(ledger, run, event.result, now)
    return Ok()


def _failed(ledger: Ledger, run: RunRecord, event: RunFailed, arrival: Arrival) -> Ok | Stale:
    seen = event.lease_until
    if seen is not None and (run.lease_until is None or run.lease_until > seen):
        return Stale()
    failure = endings.Failure(event.error, recoverable=event.recoverable)
    endings.fail(ledger, run, failure, arrival)
    return Ok()
