"""Control: the commands that an operator or an application gives a runtime."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec
from msgspec.structs import replace

from schemas.commands import (
    AbandonPending,
    Attach,
    CancelInput,
    CancelRun,
    Command,
    Destroy,
    Detach,
    Recover,
    Recycle,
    Reset,
    Resume,
    Retire,
    SetSilentIntents,
    Stop,
    Wake,
)
from schemas.events import RuntimeDestroyed, RuntimeRecycled, RuntimeRetired
from schemas.lifecycle import AbandonReason, InputState, RunState
from schemas.outcomes import Refused, Report
from schemas.records import (
    CommandRecord,
    Rebuild,
    SignalExecutor,
)
from schemas.runs import SignalKind
from worker.driver import endings, runs
from worker.driver.arrival import Arrival
from worker.driver.ledger import Ledger
from worker.driver.normalize import normalize
from worker.driver.runtime_table import ControlEvent, refusal

Answer = Report | Refused


def answer(ledger: Ledger, command: Command, arrival: Arrival) -> Answer:
    """Carry out a command, once: a repetition gets the same report again."""
    earlier = _earlier(ledger, command, arrival)
    if earlier is not None:
        return earlier
    answered = _carry_out(ledger, command, arrival)
    ledger.answered[command.command_id] = answered
    ledger.pending.command(
        CommandRecord(
            command_id=command.command_id,
            command=_name(command),
            outcome=msgspec.to_builtins(answered),
            at=arrival.now,
        )
    )
    return answered


def _earlier(ledger: Ledger, command: Command, arrival: Arrival) -> Answer | None:
    mine = ledger.answered.get(command.command_id)
    if mine is not None:
        return mine
    stored = arrival.known.commands.get(command.command_id)
    return None if stored is None else msgspec.convert(stored, Answer)


def _name(command: Command) -> str:
    return str(command.__struct_config__.tag)


def _carry_out(  # noqa: C901, PLR0911, PLR0912 - one arm for each command, and nothing else
    ledger: Ledger, command: Command, arrival: Arrival
) -> Answer:
    now = arrival.now
    match command:
        case Stop():
            return _finish(ledger, command, ControlEvent.STOP_REQUESTED, now)
        case Destroy():
            return _finish(ledger, command, ControlEvent.DESTROY_REQUESTED, now)
        case Retire():
            return _retire(ledger, command, now)
        case Reset():
            return _reset(ledger, command, now)
        case Resume():
            return _change_state(ledger, command, ControlEvent.RESUME_REQUESTED, now)
        case Attach():
            return _change_state(ledger, command, ControlEvent.ATTACH_EXECUTOR, now)
        case Detach():
            return _change_state(ledger, command, ControlEvent.DETACH_EXECUTOR, now)
        case Recycle():
            return _recycle(ledger, command, now)
        case Recover():
            return _recover(ledger, now)
        case CancelRun():
            return _cancel_run(ledger, command, arrival)
        case CancelInput():
            return _cancel_input(ledger, command, now)
        case AbandonPending():
            return _abandon_pending(ledger, command, now)
        case SetSilentIntents():
            return _set_silent_intents(ledger, command, now)
        case Wake():
            return _wake(ledger, command, now)
        case _:
            assert_never(command)


# --- the runtime's standing ----------------------------------------------------------------------


def _change_state(ledger: Ledger, command: Command, event: ControlEvent, now: datetime) -> Answer:
    fault = refusal(ledger.runtime, event)
    if fault is not None:
        return Refused(fault)
    ledger.control(event, now)
    return Report(_name(command), {})


def _finish(ledger: Ledger, command: Stop | Destroy, event: ControlEvent, now: datetime) -> Answer:
    """End the runtime. A run in flight ends with it, and its executor is told."""
    fault = refusal(ledger.runtime, event)
    if fault is not None:
        return Refused(fault)
    run = ledger.run
    if run is not None:
        endings.close(ledger, replace(run, state=RunState.CANCELLED), now)
        ledger.pending.effect(SignalExecutor(SignalKind.CANCEL_RUN, run.run_id))
    abandoned = _abandon_all(ledger, AbandonReason.DESTROYED, now)
    ledger.control(event, now, current_run_id=None, resting_state=None)
    if isinstance(command, Destroy):
        ledger.announce_topology(RuntimeDestroyed(ledger.runtime.runtime_id))
    return Report(_name(command), {"inputs_abandoned": abandoned})


def _retire(ledger: Ledger, command: Retire, now: datetime) -> Answer:
    fault = refusal(ledger.runtime, ControlEvent.RETIRE_REQUESTED)
    if fault is not None:
        return Refused(fault)
    ledger.control(ControlEvent.RETIRE_REQUESTED, now)
    ledger.announce_topology(RuntimeRetired(ledger.runtime.runtime_id))
    if len(ledger.lanes):
        # No input will come any more to wake what waits without a wake of its own.
        ledger.wake(now)
    counts = {"inputs_abandoned": 0, "inputs_pending_drain": len(ledger.active)}
    return Report(_name(command), counts)


def _reset(ledger: Ledger, command: Reset, now: datetime) -> Answer:
    fault = refusal(ledger.runtime, ControlEvent.RESET_REQUESTED)
    if fault is not None:
        return Refused(fault)
    abandoned = _abandon_all(ledger, AbandonReason.RESET, now)
    ledger.control(ControlEvent.RESET_REQUESTED, now)
    return Report(_name(command), {"inputs_abandoned": abandoned})


def _recycle(ledger: Ledger, command: Recycle, now: datetime) -> Answer:
    fault = refusal(ledger.runtime, ControlEvent.RECYCLE_REQUESTED)
    if fault is not None:
        return Refused(fault)
    normalize(ledger, ledger.stored().receipts, now, adopt=True)
    ledger.control(ControlEvent.RECYCLE_REQUESTED, now)
    ledger.control(ControlEvent.RECYCLE_SUCCEEDED, now)
    ledger.announce_topology(RuntimeRecycled(ledger.runtime.runtime_id))
    ledger.pending.effect(Rebuild())
    return Report(_name(command), {"inputs_transferred": len(ledger.active)})


def _recover(ledger: Ledger, now: datetime) -> Answer:
    fault = refusal(ledger.runtime, ControlEvent.RECOVER_REQUESTED)
    if fault is not None:
        return Refused(fault)
    report = normalize(ledger, ledger.stored().receipts, now, adopt=True)
    if refusal(ledger.runtime, ControlEvent.RECOVER_REQUESTED) is None and ledger.run is None:
        ledger.control(ControlEvent.RECOVER_REQUESTED, now)
        ledger.control(ControlEvent.RECOVERY_SUCCEEDED, now)
    ledger.pending.effect(Rebuild())
    return report


# --- what waits and what runs --------------------------------------------------------------------


def _cancel_run(ledger: Ledger, command: CancelRun, arrival: Arrival) -> Answer:
    """Ask the executor to cancel. A run that no executor has taken yet is over at once."""
    run = ledger.run
    if run is None:
        return Refused("cancel_run: no run is in flight")
    if command.run_id not in (None, run.run_id):
        return Refused(f"cancel_run: run {command.run_id} is not the current run")
    ledger.pending.effect(SignalExecutor(SignalKind.CANCEL_RUN, run.run_id))
    if run.state is RunState.REQUESTED:
        endings.cancel(ledger, run, arrival)
    return Report(_name(command), {"runs_cancelled": 1})


def _cancel_input(ledger: Ledger, command: CancelInput, now: datetime) -> Answer:
    record = ledger.active.get(command.input_id)
    if record is None:
        return Refused(f"cancel_input: input {command.input_id} is not active here")
    if record.state is not InputState.QUEUED:
        return Refused(f"cancel_input: input {command.input_id} is in run {record.last_run_id}")
    endings.abandon(ledger, record, AbandonReason.CANCELLED, now)
    return Report(_name(command), {"inputs_abandoned": 1})


def _abandon_pending(ledger: Ledger, command: AbandonPending, now: datetime) -> Answer:
    """Abandon what waits. What is part of a run in flight stays with it."""
    waiting = [record for record in ledger.active.values() if record.state is InputState.QUEUED]
    for record in waiting:
        endings.abandon(ledger, record, command.reason, now)
    in_run = len(ledger.batch())
    details = (f"{in_run} inputs are part of the run in flight and stay with it",)
    return Report(_name(command), {"inputs_abandoned": len(waiting)}, details if in_run else ())


def _abandon_all(ledger: Ledger, reason: AbandonReason, now: datetime) -> int:
    """Abandon every active input; with nothing left to do, nothing is left to wake or retry."""
    records = list(ledger.active.values())
    for record in records:
        endings.abandon(ledger, record, reason, now)
    return len(records)


def _set_silent_intents(ledger: Ledger, command: SetSilentIntents, now: datetime) -> Answer:
    if ledger.runtime.state.is_terminal:
        return Refused(f"set_silent_intents: the runtime is {ledger.runtime.state}")
    ledger.set_runtime(now, silent_intents=command.intents)
    return Report(_name(command), {"intents": len(command.intents)})


def _wake(ledger: Ledger, command: Wake, now: datetime) -> Answer:
    """Process what waits; a run that nobody took for long is requested once more.

    The pool's queue may have lost the request. Should two executors get it, receipts make their
    effect one.
    """
    if len(ledger.lanes):
        ledger.wake(now)
    runs.request_again(ledger, now)
    return Report(_name(command), {"inputs_waiting": len(ledger.lanes)})
