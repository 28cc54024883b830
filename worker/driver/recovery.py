"""Recovery: a driver from what the store holds. The only way in which a runtime comes to life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from schemas.inputs import HandlingMode, InputKind
from schemas.lifecycle import InputState, Lane
from schemas.outcomes import Report
from schemas.policy import PolicyDecision
from schemas.records import InputRecord, StoredRuntime
from worker.driver.driver import Driver
from worker.driver.ledger import Ledger
from worker.driver.normalize import normalize
from worker.driver.options import DriverOptions
from worker.driver.policy import QUEUE_BY_DEFAULT, PolicyTable

_HINTED: Final = QUEUE_BY_DEFAULT | {InputKind.PROMPT, InputKind.FLOW_STEP}


class CorruptRuntimeError(Exception):
    """A runtime that has ended still has active inputs: nothing is touched."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A driver, and what recovery did. The changes are in the driver: take and commit them."""

    driver: Driver
    report: Report


def recover(
    stored: StoredRuntime,
    *,
    now: datetime,
    options: DriverOptions,
    adopt_live_runs: bool = True,
) -> Recovered:
    """Make a driver of a stored runtime.

    Args:
        stored: What activation read; active inputs in admission order.
        now: The moment.
        options: The bounds of the driver.
        adopt_live_runs: Whether a current run whose lease has not expired stays current.

    Raises:
        CorruptRuntimeError: The runtime has ended, and active inputs are stored.
    """
    ledger = _loaded(stored, options)
    if stored.runtime.state.is_terminal and ledger.active:
        raise CorruptRuntimeError(
            f"runtime {stored.runtime.runtime_id} is {stored.runtime.state} "
            f"and has {len(ledger.active)} active inputs"
        )
    report = normalize(ledger, stored.receipts, now, adopt=adopt_live_runs)
    ledger.settle(now)
    quarantined = tuple(f"quarantined {row.input_id}: {row.detail}" for row in stored.corrupt)
    return Recovered(Driver(ledger), replace(report, details=report.details + quarantined))


def _loaded(stored: StoredRuntime, options: DriverOptions) -> Ledger:
    run = None if stored.run is None or stored.run.state.is_ended else stored.run
    ledger = Ledger(stored.runtime, options, run)
    shared: dict[PolicyDecision, PolicyDecision] = {}
    for record in stored.inputs:
        if record.policy is None and record.kind is InputKind.UNKNOWN:
            ledger.hold_id(record)
        else:
            ledger.load(_decided(record, options.policy, shared))
    for record in ledger.active.values():
        if record.state is InputState.QUEUED:
            ledger.lanes.enter(record)
    return ledger


def _decided(
    record: InputRecord, table: PolicyTable, shared: dict[PolicyDecision, PolicyDecision]
) -> InputRecord:
    """Give an input its decision: as if idle where none is stored, and shared with its equals."""
    decision = record.policy
    if decision is None:
        decision = table.resolve(record.kind, _hint(record), idle=True)
    decision = shared.setdefault(decision, decision)
    return record if decision is record.policy else replace(record, policy=decision)


def _hint(record: InputRecord) -> HandlingMode | None:
    """Guess the publisher's hint from kind and lane: the payload is not at hand."""
    if record.lane is Lane.STEER and record.kind in _HINTED:
        return HandlingMode.STEER
    return HandlingMode.QUEUE if record.kind in QUEUE_BY_DEFAULT else None
