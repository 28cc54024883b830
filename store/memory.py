"""The store in memory: the twin of the database, for tests and simulation. Nothing is durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from schemas.dead_letters import DeadLetter
from schemas.ids import CommandId, DeadLetterId, InputId, RunId, RuntimeId
from schemas.lifecycle import InputState, RuntimeState
from schemas.outcomes import EXHAUSTED
from schemas.records import (
    Changes,
    CommandRecord,
    InputRecord,
    Known,
    KnownInput,
    OutboxMessage,
    ReceiptRecord,
    RunRecord,
    RuntimeRecord,
    SnapshotRecord,
    StoredRuntime,
    Timer,
    TimerKind,
)
from store.errors import StoreError
from store.ports import (
    Commit,
    CommitResult,
    Contents,
    DueTimer,
    Lookup,
    Wanted,
    WorkerPresence,
)
from store.timers import CLAIM

_replace = msgspec.structs.replace
_APPLIED = frozenset({InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION})


@dataclass(slots=True)
class Shelf:
    """All that is stored of one runtime."""

    runtime: RuntimeRecord
    owner: str | None = None
    inputs: dict[InputId, InputRecord] = field(default_factory=dict)
    active: dict[InputId, InputRecord] = field(default_factory=dict)
    payloads: dict[InputId, bytes] = field(default_factory=dict)
    keys: dict[str, InputId] = field(default_factory=dict)
    runs: dict[RunId, RunRecord] = field(default_factory=dict)
    receipts: dict[tuple[RunId, int], ReceiptRecord] = field(default_factory=dict)
    commands: dict[CommandId, CommandRecord] = field(default_factory=dict)
    timers: dict[TimerKind, Timer] = field(default_factory=dict)
    claimed_until: dict[TimerKind, datetime] = field(default_factory=dict)
    snapshot: SnapshotRecord | None = None

    def refuses(self, changes: Changes) -> bool:
        """Tell whether a constraint of the database would stand in the way."""
        keys = [
            record.idempotency_key
            for record in changes.inserted
            if record.idempotency_key is not None
        ]
        ids = [record.input_id for record in changes.inserted]
        receipts = [_receipt_key(record) for record in changes.receipts]
        commands = [record.command_id for record in changes.commands]
        return (
            _collides(ids, self.inputs)
            or _collides(keys, self.keys)
            or _collides(receipts, self.receipts)
            or _collides(commands, self.commands)
        )

    def write(self, part: Commit) -> None:
        """Write a part that nothing refuses."""
        changes = part.changes
        for raw_id in part.quarantined:
            self._forget(UUID(raw_id))
        for record in changes.inserted:
            self._put(record)
        for record in changes.updated:
            if record.input_id in self.inputs:
                self._put(record)
        self.payloads.update(
            (input_id, payload)
            for input_id, payload in part.payloads.items()
            if input_id in self.inputs
        )
        self.runs.update((record.run_id, record) for record in changes.runs)
        self.receipts.update((_receipt_key(record), record) for record in changes.receipts)
        self.commands.update((record.command_id, record) for record in changes.commands)
        self.snapshot = changes.snapshot or self.snapshot
        self._write_runtime(changes.runtime)
        for kind, timer in changes.timers.items():
            self._set_timer(kind, timer)

    def read(self) -> StoredRuntime:
        """Read what activation reads."""
        order = sorted(self.active.values(), key=lambda record: (record.sequence, record.input_id))
        wanted = {
            (record.last_run_id, record.last_boundary_sequence)
            for record in order
            if record.state in _APPLIED
        }
        current = self.runtime.current_run_id
        return StoredRuntime(
            runtime=self.runtime,
            inputs=tuple(order),
            run=None if current is None else self.runs.get(current),
            receipts=frozenset(key for key in self.receipts if key in wanted),
        )

    def known(self, lookup: Lookup) -> Known:
        """Tell what is known of ids."""
        keys = {key: self.keys[key] for key in lookup.keys if key in self.keys}
        return Known(
            inputs={one: _known(self.inputs[one]) for one in lookup.inputs if one in self.inputs},
            keys={key: _known(self.inputs[input_id]) for key, input_id in keys.items()},
            runs={one: self.runs[one].state for one in lookup.runs if one in self.runs},
            commands={
                one: self.commands[one].outcome for one in lookup.commands if one in self.commands
            },
            exhausted={
                one: self.inputs[one]
                for one in lookup.exhausted
                if one in self.inputs and self.inputs[one].outcome == EXHAUSTED
            },
        )

    def contents(self, wanted: Wanted) -> Contents:
        """Read payloads, and the snapshot."""
        there = self.payloads
        return Contents(
            {input_id: there[input_id] for input_id in wanted.inputs if input_id in there},
            self.snapshot if wanted.snapshot else None,
        )

    def due(self, now: datetime) -> list[tuple[datetime, Timer]]:
        """List timers that nobody has claimed, with the moment since when they could be."""
        free = [
            (self.claimed_until.get(timer.kind, timer.due_at), timer)
            for timer in self.timers.values()
        ]
        return [(at, timer) for at, timer in free if at <= now]

    def _put(self, record: InputRecord) -> None:
        self.inputs[record.input_id] = record
        if record.state.is_terminal:
            self.active.pop(record.input_id, None)
        else:
            self.active[record.input_id] = record
        if record.idempotency_key is not None:
            self.keys[record.idempotency_key] = record.input_id

    def _forget(self, input_id: InputId) -> None:
        record = self.active.pop(input_id, None)
        if record is None:
            return
        del self.inputs[input_id]
        self.payloads.pop(input_id, None)
        if record.idempotency_key is not None:
            del self.keys[record.idempotency_key]

    def _write_runtime(self, record: RuntimeRecord | None) -> None:
        if record is None:
            return
        stands = self.runtime
        self.runtime = _replace(
            record,
            state=_stored_state(record.state),
            resting_state=record.resting_state and _stored_state(record.resting_state),
            epoch=stands.epoch,
            created_at=stands.created_at,
        )

    def _set_timer(self, kind: TimerKind, timer: Timer | None) -> None:
        self.claimed_until.pop(kind, None)
        if timer is None:
            self.timers.pop(kind, None)
        else:
            self.timers[kind] = timer


class MemoryStore:
    """A ``RuntimeStore`` of dictionaries. Every method is atomic: none waits inside.

    Attributes:
        shelves: Everything of each runtime.
        dead_letters: In the order of their first death; ``deaths`` counts the later ones too.
        outbox: In the order of commits.
    """

    def __init__(self) -> None:
        self.shelves: dict[RuntimeId, Shelf] = {}
        self.dead_letters: dict[DeadLetterId, DeadLetter] = {}
        self.deaths: dict[DeadLetterId, int] = {}
        self.outbox: dict[UUID, OutboxMessage] = {}
        self._workers: dict[str, WorkerPresence] = {}

    async def close(self) -> None:
        """Nothing is open."""

    async def activate(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """See ``RuntimeStore``."""
        shelf = self.shelves.get(runtime_id) or self._new(runtime_id, now)
        shelf.runtime = _replace(shelf.runtime, epoch=shelf.runtime.epoch + 1, updated_at=now)
        shelf.owner = owner
        return shelf.read()

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """See ``RuntimeStore``."""
        shelf = self.shelves.get(runtime_id)
        return None if shelf is None else shelf.read()

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        """See ``RuntimeStore``."""
        return [self._commit(part) for part in parts]

    async def known(self, lookups: Sequence[Lookup]) -> list[Known]:
        """See ``RuntimeStore``."""
        shelves = ((self.shelves.get(lookup.runtime_id), lookup) for lookup in lookups)
        return [Known() if shelf is None else shelf.known(lookup) for shelf, lookup in shelves]

    async def contents(self, wanted: Sequence[Wanted]) -> list[Contents | StoreError]:
        """See ``RuntimeStore``."""
        shelves = ((self.shelves.get(one.runtime_id), one) for one in wanted)
        return [Contents() if shelf is None else shelf.contents(one) for shelf, one in shelves]

    async def register(self, runtime_ids: Sequence[RuntimeId], *, now: datetime) -> list[RuntimeId]:
        """See ``RuntimeStore``."""
        new = [one for one in dict.fromkeys(runtime_ids) if one not in self.shelves]
        for runtime_id in new:
            self._new(runtime_id, now)
        return new

    async def runtime_ids(self) -> list[RuntimeId]:
        """See ``RuntimeStore``."""
        return sorted(
            runtime_id
            for runtime_id, shelf in self.shelves.items()
            if shelf.runtime.state is not RuntimeState.DESTROYED
        )

    async def unpublished(self, *, before: datetime, limit: int) -> list[OutboxMessage]:
        """See ``RuntimeStore``."""
        old = [message for message in self.outbox.values() if message.created_at < before]
        return old[:limit]

    async def fire_timers(self, *, now: datetime, limit: int) -> list[DueTimer]:
        """See ``RuntimeStore``."""
        due = [
            (at, runtime_id, timer)
            for runtime_id, shelf in self.shelves.items()
            for at, timer in shelf.due(now)
        ]
        fired = sorted(due, key=lambda one: one[:2])[:limit]
        for _, runtime_id, timer in fired:
            self.shelves[runtime_id].claimed_until[timer.kind] = now + CLAIM
        return [DueTimer(runtime_id, timer) for _, runtime_id, timer in fired]

    async def heartbeat(self, presence: WorkerPresence) -> None:
        """See ``RuntimeStore``."""
        self._workers[presence.worker_id] = presence

    async def workers(self) -> list[WorkerPresence]:
        """See ``RuntimeStore``."""
        return [self._workers[worker_id] for worker_id in sorted(self._workers)]

    async def forget_worker(self, worker_id: str) -> None:
        """See ``RuntimeStore``."""
        self._workers.pop(worker_id, None)

    def _new(self, runtime_id: RuntimeId, now: datetime) -> Shelf:
        runtime = RuntimeRecord(runtime_id, RuntimeState.IDLE, 0, now, now)
        shelf = self.shelves[runtime_id] = Shelf(runtime)
        return shelf

    def _commit(self, part: Commit) -> CommitResult:
        if part.runtime_id is not None:
            shelf = self.shelves.get(part.runtime_id)
            if shelf is None or shelf.runtime.epoch != part.epoch:
                return CommitResult.FENCED
            if shelf.refuses(part.changes):
                return CommitResult.FAILED
            shelf.write(part)
        for message in part.outbox:
            self.outbox.setdefault(message.id, message)
        for row_id in part.published:
            self.outbox.pop(row_id, None)
        for letter in part.dead_letters:
            self._bury(letter)
        return CommitResult.COMMITTED

    def _bury(self, letter: DeadLetter) -> None:
        """Keep a letter; a message that came twice with the same bytes keeps its first one."""
        same = next((one for one in self.dead_letters.values() if _is_same(one, letter)), None)
        kept = letter if same is None else _replace(letter, id=same.id)
        self.dead_letters[kept.id] = kept
        self.deaths[kept.id] = self.deaths.get(kept.id, 0) + 1


def _receipt_key(record: ReceiptRecord) -> tuple[RunId, int]:
    return record.receipt.run_id, record.receipt.sequence


def _collides(new: Sequence[Any], there: dict[Any, Any]) -> bool:
    return len(set(new)) < len(new) or any(one in there for one in new)


def _known(record: InputRecord) -> KnownInput:
    return KnownInput(record.input_id, record.state, record.payload_digest, record.outcome)


def _stored_state(state: RuntimeState) -> RuntimeState:
    return RuntimeState.IDLE if state is RuntimeState.ATTACHED else state


def _is_same(one: DeadLetter, other: DeadLetter) -> bool:
    where = one.source_queue == other.source_queue or one.message_id is not None
    return where and (one.runtime_id, one.message_id, one.body) == (
        other.runtime_id,
        other.message_id,
        other.body,
    )
