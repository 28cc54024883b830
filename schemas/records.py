"""Records: the durable rows of a runtime, as the driver decides them and the store keeps them.

``gc=False`` is on those that a driver holds by the hundred thousand. Nothing refers back from
them, so the garbage collector need not look at them; that would stop the process for as long as
many commits take.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from schemas.events import RuntimeEvent
from schemas.ids import CommandId, DeadLetterId, InputId, RunId, RuntimeId
from schemas.inputs import Durability, InputKind
from schemas.lifecycle import InputState, Lane, RunState, RuntimeState
from schemas.outcomes import CompletionOutcome, TerminalOutcome
from schemas.policy import PolicyDecision, QueueMode
from schemas.runs import Boundary, Receipt, SignalKind


class ReplyTo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who wants to know: an AMQP queue, what to say it is about, and in which trace."""

    queue: str
    correlation_id: str | None = None
    traceparent: str | None = None


class HistoryEntry(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename={"from_": "from"}
):
    """One transition of an input."""

    at: datetime
    from_: InputState
    to: InputState
    reason: str | None = None


class InputRecord(msgspec.Struct, frozen=True, gc=False):
    """The bookkeeping of one input; its payload is kept beside it by the store.

    ``sequence`` counts admissions of the runtime. ``policy`` is None only for rows of unknown
    origin. ``lane`` is None for an input that was never queued.
    """

    input_id: InputId
    sequence: int
    kind: InputKind
    durability: Durability
    state: InputState
    lane: Lane | None
    payload_digest: str
    created_at: datetime
    updated_at: datetime
    policy: PolicyDecision | None = None
    outcome: TerminalOutcome | None = None
    idempotency_key: str | None = None
    supersession_key: str | None = None
    last_run_id: RunId | None = None
    last_boundary_sequence: int | None = None
    attempt_count: int = 0
    recovery_count: int = 0
    history: tuple[HistoryEntry, ...] = ()
    reply: ReplyTo | None = None
    traceparent: str | None = None

    @property
    def position(self) -> int:
        """Its place in its lane: admission order, but a priority input stands in front."""
        ahead = self.policy is not None and self.policy.queue_mode is QueueMode.PRIORITY
        return -self.sequence if ahead else self.sequence


class RunRecord(msgspec.Struct, frozen=True):
    """One run over a batch of inputs. ``next_boundary`` is the receipt sequence expected next."""

    run_id: RunId
    state: RunState
    boundary: Boundary
    batch: tuple[InputId, ...]
    attempt: int
    requested_at: datetime
    next_boundary: int = 0
    lease_until: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    recoverable: bool | None = None


class RetryPlan(msgspec.Struct, frozen=True):
    """How a runtime goes on after a failed run.

    No run starts before ``not_before``. Batches hold at most ``batch_limit`` inputs until all
    inputs up to sequence ``through_sequence`` have left their lanes, so that a culprit ends alone.
    ``failures`` counts failed runs in a row; it sets the backoff.
    """

    failures: int
    not_before: datetime
    batch_limit: int
    through_sequence: int


class RuntimeRecord(msgspec.Struct, frozen=True):
    """The runtime itself.

    ``resting_state`` is where a current run was begun from (idle or retired), to return there.
    ``woken`` means: go on starting runs until the lanes are empty.
    """

    runtime_id: RuntimeId
    state: RuntimeState
    epoch: int
    created_at: datetime
    updated_at: datetime
    resting_state: RuntimeState | None = None
    current_run_id: RunId | None = None
    next_sequence: int = 0
    woken: bool = False
    silent_intents: tuple[str, ...] = ()
    retry: RetryPlan | None = None
    paused: bool = False


class ReceiptRecord(msgspec.Struct, frozen=True):
    """A receipt as it is kept: with the epoch that committed it."""

    receipt: Receipt
    epoch: int
    committed_at: datetime


class SnapshotRecord(msgspec.Struct, frozen=True):
    """The latest session snapshot of a runtime: small bytes, or a blob. Digest: SHA-256 hex."""

    run_id: RunId
    sequence: int
    data: bytes | None
    blob_id: str | None
    digest: str | None


class CommandRecord(msgspec.Struct, frozen=True):
    """A command that was carried out or refused, with the report that every repetition gets."""

    command_id: CommandId
    command: str
    outcome: dict[str, Any]
    at: datetime


class TimerKind(StrEnum):
    """What a timer is for."""

    RUN_LEASE = "run_lease"
    RETRY = "retry"


class Timer(msgspec.Struct, frozen=True):
    """When due, any worker puts a message into the runtime's inbox. One of a kind per runtime.

    ``run_id`` names the run whose lease it is.
    """

    kind: TimerKind
    due_at: datetime
    run_id: RunId | None = None


class OutboxMessage(msgspec.Struct, frozen=True):
    """A message that was decided in a commit and is published after it.

    ``runtime_id`` orders it among its own; ``properties`` holds AMQP properties by their names
    (``message_id``, ``type``, ``correlation_id``, ``headers``, ...).
    """

    id: UUID
    runtime_id: RuntimeId | None
    exchange: str
    routing_key: str
    properties: dict[str, Any]
    body: bytes
    created_at: datetime


# --- effects: what is to be done, once the changes are committed or with them --------------------


class RequestRun(msgspec.Struct, frozen=True):
    """Ask the pool for a run: the shell loads payloads, renders, and writes the outbox.

    ``traceparent`` is that of the first input of the batch that has one.
    """

    run: RunRecord
    traceparent: str | None = None


class Complete(msgspec.Struct, frozen=True):
    """Tell whoever waits for an input how it ended."""

    input_id: InputId
    reply: ReplyTo
    outcome: CompletionOutcome


class BuryInput(msgspec.Struct, frozen=True):
    """Make a dead letter of a stored input: its attempts are exhausted."""

    input_id: InputId
    detail: str


class SignalExecutor(msgspec.Struct, frozen=True):
    """Tell the executor of the current run to cancel, or to yield (``interrupt``)."""

    signal: SignalKind
    run_id: RunId


class Announce(msgspec.Struct, frozen=True):
    """Tell observers."""

    event: RuntimeEvent


class Rebuild(msgspec.Struct, frozen=True):
    """Drop the driver after the commit and activate anew from the store."""


Effect = RequestRun | Complete | BuryInput | SignalExecutor | Announce | Rebuild


class Changes(msgspec.Struct, frozen=True):
    """What the driver wants written and done: changed rows only.

    ``runtime`` is None when the runtime's own row did not change. ``timers`` maps each changed kind
    to its new timer, or to None to clear it.
    """

    runtime: RuntimeRecord | None = None
    inserted: tuple[InputRecord, ...] = ()
    updated: tuple[InputRecord, ...] = ()
    runs: tuple[RunRecord, ...] = ()
    receipts: tuple[ReceiptRecord, ...] = ()
    snapshot: SnapshotRecord | None = None
    commands: tuple[CommandRecord, ...] = ()
    timers: dict[TimerKind, Timer | None] = {}
    effects: tuple[Effect, ...] = ()


# --- what the store knows ------------------------------------------------------------------------


class KnownInput(msgspec.Struct, frozen=True):
    """An input that the store has, active or ended."""

    input_id: InputId
    state: InputState
    payload_digest: str
    outcome: TerminalOutcome | None


class Redriven(msgspec.Struct, frozen=True):
    """A dead letter whose message an operator published again: this one, by these bytes only."""

    message_id: str | None
    redrive_count: int
    body_digest: str


class Known(msgspec.Struct, frozen=True):
    """What the store knows of the ids that a batch of messages names. Absent means: not known.

    ``exhausted`` holds, whole, those asked-for inputs that were abandoned with their attempts
    exhausted: an operator may have them admitted again.
    """

    inputs: dict[InputId, KnownInput] = {}
    keys: dict[str, KnownInput] = {}
    runs: dict[RunId, RunState] = {}
    commands: dict[CommandId, dict[str, Any]] = {}
    redriven: dict[DeadLetterId, Redriven] = {}
    exhausted: dict[InputId, InputRecord] = {}


class CorruptRecord(msgspec.Struct, frozen=True):
    """A stored input that cannot be decoded: its id as stored, the fault, the raw row as JSON."""

    input_id: str
    detail: str
    raw: bytes


class StoredRuntime(msgspec.Struct, frozen=True):
    """A runtime as activation finds it: active inputs in admission order, without payloads.

    ``receipts`` holds those (run, sequence) of the active inputs that are stored.
    """

    runtime: RuntimeRecord
    inputs: tuple[InputRecord, ...] = ()
    run: RunRecord | None = None
    receipts: frozenset[tuple[RunId, int]] = frozenset()
    corrupt: tuple[CorruptRecord, ...] = ()
