"""Dry run: what would become of a dead letter if it were redriven now. Writes nothing."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec

from schemas.dead_letters import DeadLetterReason
from schemas.envelope import CommandMessage, InputMessage, Message, RunEventMessage, decode
from schemas.errors import MalformedError
from schemas.ids import DeadLetterId, RuntimeId
from schemas.lifecycle import RuntimeState
from schemas.outcomes import Outcome, RunStart
from schemas.records import Changes, InputRecord, Known, RuntimeRecord, StoredRuntime
from store.dead_letters import Letter, LetterFilter
from store.ports import Lookup
from store.sql import SqlStore
from worker.broker.topology import Topology
from worker.dead_letters.message import destination, envelope_of
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import CorruptRuntimeError, recover
from worker.letters import disposition_of

PIECE = 500
"""Letters of a group that are named at once."""


class Verdict(enum.StrEnum):
    """What would become of a letter."""

    PROCESSED = "processed"
    """Its message would be taken, and the letter closed."""
    DIES_AGAIN = "dies_again"
    """Its message would be a dead letter again, perhaps for another reason."""
    LEAVES = "leaves"
    """Its message is for no runtime: it would be published, and closed without a report."""
    REFUSED = "refused"
    """It would not be redriven."""


class DryRun(msgspec.Struct, frozen=True):
    """What a redrive would do.

    Attributes:
        outcome: What the driver answers; None if it would not be asked.
        reason: Why it would be a dead letter again.
        detail: The same in words, or why it would not be redriven.
        changes: What would change in the runtime, a line each.
    """

    letter_id: DeadLetterId
    verdict: Verdict
    outcome: Outcome | None = None
    reason: DeadLetterReason | None = None
    detail: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Tries dead letters on copies of their runtimes. The store is only read."""

    store: SqlStore
    topology: Topology
    options: DriverOptions
    max_message_bytes: int

    async def letter(self, letter: Letter, body: bytes, *, now: datetime, run_id: UUID) -> DryRun:
        """Try one letter, with its body or with another one.

        Args:
            letter: The letter.
            body: What would be published.
            now: The moment at which it would be.
            run_id: Names the run that it might begin.
        """
        if destination(letter, self.topology) is None:
            return _refused(letter, "it names no runtime, and no queue to publish it to")
        if letter.runtime_id is None:
            detail = f"it would be published to queue {letter.source_queue}"
            return DryRun(letter.id, Verdict.LEAVES, detail=detail)
        stored = await self.store.read(letter.runtime_id) or _unknown(letter.runtime_id, now)
        if stored.runtime.state is RuntimeState.DESTROYED:
            return _refused(letter, f"runtime {letter.runtime_id} is destroyed")
        try:
            envelope = envelope_of(letter, body)
            message = decode(envelope, received_at=now, max_bytes=self.max_message_bytes)
            driver = recover(stored, now=now, options=self.options).driver
        except MalformedError as fault:
            return _dies(letter, None, (DeadLetterReason.MALFORMED, str(fault)))
        except CorruptRuntimeError as fault:
            return _dies(letter, None, (DeadLetterReason.CORRUPT_RECORD, str(fault)))
        driver.take()
        (known,) = await self.store.known([_question(letter.runtime_id, message)])
        return _tried(letter, driver, message, known, now, run_id)

    async def group(
        self, wanted: LetterFilter, *, limit: int, now: datetime, run_id: UUID
    ) -> AsyncIterator[DryRun]:
        """Try the open letters that a filter means, each by itself, the oldest first."""
        after: DeadLetterId | None = None
        while limit > 0:
            most = min(PIECE, limit)
            found = await self.store.dead_letters.open_ids(wanted, limit=most, after=after)
            for letter_id, _ in found:
                there = await self.store.dead_letters.get(letter_id)
                if there is not None:
                    yield await self.letter(*there, now=now, run_id=run_id)
            if len(found) < most:
                return
            after = found[-1][0]
            limit -= most


def _tried(
    letter: Letter, driver: Driver, message: Message, known: Known, now: datetime, run_id: UUID
) -> DryRun:
    outcome = driver.apply(message, Arrival(now=now, known=known, redrive=True))
    start = driver.start_run(run_id, now=now) if driver.wants_run(now) else None
    changes = described(driver.take(), start)
    is_command = isinstance(message, CommandMessage)
    _, cause = disposition_of(outcome, command=is_command)
    if cause is not None:
        return _dies(letter, outcome, cause)
    return DryRun(letter.id, Verdict.PROCESSED, outcome, changes=changes)


def _dies(letter: Letter, outcome: Outcome | None, cause: tuple[DeadLetterReason, str]) -> DryRun:
    return DryRun(letter.id, Verdict.DIES_AGAIN, outcome, *cause)


def _refused(letter: Letter, detail: str) -> DryRun:
    return DryRun(letter.id, Verdict.REFUSED, detail=detail)


def _unknown(runtime_id: RuntimeId, now: datetime) -> StoredRuntime:
    """A runtime that nobody has heard of is made by its first message."""
    return StoredRuntime(RuntimeRecord(runtime_id, RuntimeState.IDLE, 0, now, now))


def _question(runtime_id: RuntimeId, message: Message) -> Lookup:
    """Ask what a worker would ask."""
    match message:
        case InputMessage(input=item):
            header = item.header
            keys = (header.idempotency_key,) if header.idempotency_key else ()
            return Lookup(runtime_id, inputs=(header.id,), keys=keys, exhausted=(header.id,))
        case RunEventMessage(event=event):
            return Lookup(runtime_id, runs=(event.run_id,))
        case CommandMessage(command=command):
            return Lookup(runtime_id, commands=(command.command_id,))
        case _:
            assert_never(message)


def described(changes: Changes, start: RunStart | object = None) -> tuple[str, ...]:
    """Say what changes of a runtime, a line each."""
    lines = [
        *(f"input {_standing(record)}: new" for record in changes.inserted),
        *(f"input {_standing(record)}" for record in changes.updated),
    ]
    if isinstance(start, RunStart):
        lines.append(f"a run over {len(start.input_ids)} inputs begins")
    lines += [f"run {run.run_id}: {run.state.value}" for run in changes.runs if start is None]
    if changes.runtime is not None:
        lines.append(f"runtime: {changes.runtime.state.value}")
    return (*lines, *_told(changes.effects))


def _standing(record: InputRecord) -> str:
    lane = "" if record.lane is None else f" in lane {record.lane.value}"
    return f"{record.input_id}: {record.state.value}{lane}, sequence {record.sequence}"


def _told(effects: Sequence[Any]) -> list[str]:
    names = [type(effect).__name__ for effect in effects]
    told = {"Complete": "whoever waits for it is told", "BuryInput": "an input is given up"}
    told["SignalExecutor"] = "the executor of the current run is told"
    return [sentence for name, sentence in told.items() if name in names]
