"""A store in a dictionary: keeps what the driver took, and refuses what no store may keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from schemas.envelope import CommandMessage, InputMessage, Message, RunEventMessage
from schemas.ids import CommandId, InputId, RunId
from schemas.lifecycle import InputState, RuntimeState
from schemas.records import (
    Changes,
    InputRecord,
    Known,
    KnownInput,
    ReceiptRecord,
    RunRecord,
    RuntimeRecord,
    SnapshotRecord,
    StoredRuntime,
    Timer,
    TimerKind,
)

_S = InputState
LEGAL = frozenset(
    {
        (_S.ACCEPTED, _S.QUEUED),
        (_S.ACCEPTED, _S.CONSUMED),
        (_S.QUEUED, _S.STAGED),
        (_S.STAGED, _S.QUEUED),
        (_S.STAGED, _S.APPLIED),
        (_S.APPLIED, _S.APPLIED_PENDING_CONSUMPTION),
        (_S.APPLIED_PENDING_CONSUMPTION, _S.CONSUMED),
        (_S.QUEUED, _S.SUPERSEDED),
        (_S.QUEUED, _S.COALESCED),
        *((state, _S.ABANDONED) for state in _S if not state.is_terminal),
        (_S.APPLIED, _S.QUEUED),  # these three: recovery, by the receipt that is or is not there
        (_S.APPLIED, _S.CONSUMED),
        (_S.APPLIED_PENDING_CONSUMPTION, _S.QUEUED),
    }
)
"""Every move that an input may make."""


@dataclass
class Store:
    """One runtime's rows."""

    runtime: RuntimeRecord
    inputs: dict[InputId, InputRecord] = field(default_factory=dict)
    keys: dict[str, InputId] = field(default_factory=dict)
    runs: dict[RunId, RunRecord] = field(default_factory=dict)
    receipts: dict[tuple[RunId, int], ReceiptRecord] = field(default_factory=dict)
    commands: dict[CommandId, dict[str, Any]] = field(default_factory=dict)
    timers: dict[TimerKind, Timer] = field(default_factory=dict)
    snapshot: SnapshotRecord | None = None

    def activate(self) -> StoredRuntime:
        """Take the runtime: raise its epoch and read what is active."""
        self.runtime = msgspec.structs.replace(self.runtime, epoch=self.runtime.epoch + 1)
        return self.read()

    def read(self) -> StoredRuntime:
        """Read what is active, in admission order."""
        active = [record for record in self.inputs.values() if not record.state.is_terminal]
        named = {(record.last_run_id, record.last_boundary_sequence) for record in active}
        current = self.runtime.current_run_id
        return StoredRuntime(
            self.runtime,
            tuple(sorted(active, key=lambda record: record.sequence)),
            None if current is None else self.runs[current],
            frozenset(key for key in self.receipts if key in named),
        )

    def known(self, messages: Iterable[Message]) -> Known:
        """Tell what is known of the ids that messages name."""
        known = Known({}, {}, {}, {})
        for message in messages:
            match message:
                case InputMessage(input=item):
                    self._know_input(known, item.header.id, item.header.idempotency_key)
                case RunEventMessage(event=event):
                    if event.run_id in self.runs:
                        known.runs[event.run_id] = self.runs[event.run_id].state
                case CommandMessage(command=command):
                    if command.command_id in self.commands:
                        known.commands[command.command_id] = self.commands[command.command_id]
        return known

    def _know_input(self, known: Known, input_id: InputId, key: str | None) -> None:
        if input_id in self.inputs:
            known.inputs[input_id] = _known(self.inputs[input_id])
        if key is not None and key in self.keys:
            known.keys[key] = _known(self.inputs[self.keys[key]])

    def commit(self, changes: Changes) -> None:
        """Write, as a database would, with every constraint that could be broken."""
        if changes.runtime is not None:
            assert changes.runtime.epoch == self.runtime.epoch, "the fence"
            assert changes.runtime.state is not RuntimeState.ATTACHED, "attached is never stored"
            self.runtime = changes.runtime
        for record in changes.inserted:
            self._insert(record)
        for record in changes.updated:
            self._update(record)
        for run in changes.runs:
            before = self.runs.get(run.run_id)
            assert before is None or not before.state.is_ended, "an ended run never changes"
            self.runs[run.run_id] = run
        for receipt in changes.receipts:
            self._receive(receipt)
        for command in changes.commands:
            assert command.command_id not in self.commands, "a command is recorded once"
            self.commands[command.command_id] = command.outcome
        self.snapshot = changes.snapshot or self.snapshot
        self._set_timers(changes.timers)

    def _insert(self, record: InputRecord) -> None:
        assert record.input_id not in self.inputs, "an input is inserted once"
        assert record.idempotency_key not in self.keys, "a key names one input"
        if record.idempotency_key is not None:
            self.keys[record.idempotency_key] = record.input_id
        self.inputs[record.input_id] = record

    def _update(self, record: InputRecord) -> None:
        before = self.inputs[record.input_id]
        assert not before.state.is_terminal, "a terminal state never changes"
        there_and_back = before.reply is not None  # two askers in turn, in one batch
        assert record != before or there_and_back, "only changed rows are written"
        assert record.history[: len(before.history)] == before.history, "history only grows"
        self.inputs[record.input_id] = record

    def _receive(self, record: ReceiptRecord) -> None:
        receipt = record.receipt
        run = [sequence for run_id, sequence in self.receipts if run_id == receipt.run_id]
        assert receipt.sequence == len(run), "the sequence of receipts has no gap, repeats nothing"
        assert record.epoch == self.runtime.epoch, "a receipt names the epoch that committed it"
        self.receipts[receipt.run_id, receipt.sequence] = record

    def _set_timers(self, timers: dict[TimerKind, Timer | None]) -> None:
        for kind, timer in timers.items():
            if timer is None:
                self.timers.pop(kind, None)
            else:
                self.timers[kind] = timer

    def forget_receipts(self, run_id: RunId) -> None:
        """Damage: lose a run's receipts, as a restored backup might."""
        for key in [key for key in self.receipts if key[0] == run_id]:
            del self.receipts[key]


def findings(store: Store) -> Iterator[str]:
    """What is wrong with the rows by themselves, whatever led to them."""
    stored = store.read()
    if store.runtime.state.is_terminal and (stored.inputs or stored.run):
        yield "something is active in a terminal runtime"
    yield from _run_findings(store)
    for record in store.inputs.values():
        yield from (f"{record.input_id}: {finding}" for finding in _input_findings(store, record))


def _run_findings(store: Store) -> Iterator[str]:
    open_runs = [run for run in store.runs.values() if not run.state.is_ended]
    current = store.read().run
    if open_runs != ([] if current is None else [current]):
        yield "an open run that is not the current one"
    lease = store.timers.get(TimerKind.RUN_LEASE)
    wanted = None if current is None else current.lease_until
    if (lease.due_at if lease else None) != wanted:
        yield "the lease timer does not tell the lease"
    for input_id in () if current is None else current.batch:
        record = store.inputs[input_id]
        if record.last_run_id != store.runtime.current_run_id or record.state not in _IN_A_RUN:
            yield f"{input_id}: contributes to the current run and is {record.state}"


_IN_A_RUN = {InputState.STAGED, InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION}


def _input_findings(store: Store, record: InputRecord) -> Iterator[str]:
    if record.state.is_terminal != (record.outcome is not None):
        yield f"{record.state} with outcome {record.outcome}"
    if record.state is InputState.CONSUMED and record.lane is not None:
        receipt = store.receipts.get((record.last_run_id, record.last_boundary_sequence))  # type: ignore[arg-type]
        if receipt is None or record.input_id not in receipt.receipt.contributing_input_ids:
            yield "consumed without a receipt that names it"
    moves = [(entry.from_, entry.to) for entry in record.history]
    if not set(moves) <= LEGAL:
        yield f"made a move that is not in the table: {set(moves) - LEGAL}"
    if any(one[1] != next_[0] for one, next_ in pairwise(moves)) or moves[-1][1] != record.state:
        yield "history does not lead to its state"
    staged = sum(to is InputState.STAGED for _, to in moves)
    if staged != record.attempt_count:
        yield f"attempt_count {record.attempt_count}, staged {staged} times"


def _known(record: InputRecord) -> KnownInput:
    return KnownInput(record.input_id, record.state, record.payload_digest, record.outcome)
