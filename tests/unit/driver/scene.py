"""A scene: one driver, a clock that is told, and the inputs and events that tests send to it."""
# ruff: noqa: ANN401 - keyword arguments are fields of records, by their names

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from schemas.commands import Command
from schemas.envelope import CommandMessage, InputMessage, RunEventMessage
from schemas.ids import InputId, RunId, RuntimeId
from schemas.inputs import (
    Continuation,
    Convention,
    Durability,
    ExternalEvent,
    ExternalSource,
    FlowStep,
    HandlingMode,
    Header,
    Input,
    Operation,
    OperationStarted,
    OperatorSource,
    Peer,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    PeerSource,
    ProgressPhase,
    Prompt,
    ResponseStatus,
    Source,
    SystemSource,
    TurnMetadata,
)
from schemas.lifecycle import InputState, Lane, RuntimeState
from schemas.outcomes import NothingToRun, Outcome, RunStart
from schemas.records import (
    Announce,
    Changes,
    Complete,
    Effect,
    InputRecord,
    Known,
    ReplyTo,
    RuntimeRecord,
    StoredRuntime,
)
from schemas.runs import (
    Boundary,
    BoundaryApplied,
    Receipt,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    SessionSnapshot,
)
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import Recovered, recover

RUNTIME = RuntimeId("agent-1")
START = datetime(2026, 1, 1, tzinfo=UTC)
REPLY = ReplyTo("asker", "question-1")
_E = TypeVar("_E", bound=Effect)
_numbers = count(1)


def new_id() -> UUID:
    """Make an id that no other call makes."""
    return UUID(int=next(_numbers))


# --- inputs --------------------------------------------------------------------------------------


def header(source: Source | None = None, **fields: Any) -> Header:
    """Make a header with a new id; it is an operator's unless a source is given."""
    known: dict[str, Any] = {"id": new_id(), "timestamp": START} | fields
    return Header(source=OperatorSource() if source is None else source, **known)


def prompt(hint: HandlingMode | None = None, text: str = "hello", **fields: Any) -> Prompt:
    """Make a prompt, with a handling-mode hint if one is given."""
    metadata = None if hint is None else TurnMetadata(handling_mode=hint)
    return Prompt(header(**fields), text, turn_metadata=metadata)


def flow_step(hint: HandlingMode | None = None, **fields: Any) -> FlowStep:
    """Make a flow step."""
    metadata = None if hint is None else TurnMetadata(handling_mode=hint)
    return FlowStep(header(SystemSource(), **fields), "step-1", "do it", turn_metadata=metadata)


def external_event(hint: HandlingMode = HandlingMode.QUEUE, **fields: Any) -> ExternalEvent:
    """Make an external event."""
    source = ExternalSource("webhook")
    return ExternalEvent(header(source, **fields), "push", {}, handling_mode=hint)


def continuation(hint: HandlingMode = HandlingMode.QUEUE, **fields: Any) -> Continuation:
    """Make a continuation."""
    return Continuation(header(SystemSource(), **fields), "go on", hint)


def operation(**fields: Any) -> Operation:
    """Make a notice about a background operation."""
    event = OperationStarted("op-1", "index")
    return Operation(header(SystemSource(), **fields), "op-1", event)


def _peer(convention: Convention | None, **fields: Any) -> Peer:
    return Peer(header(PeerSource("ada"), **fields), "hi", convention)


def peer_message(**fields: Any) -> Peer:
    """Make a message of a peer."""
    return _peer(PeerMessage(), **fields)


def peer_request(intent: str = "ask", **fields: Any) -> Peer:
    """Make a request of a peer."""
    return _peer(PeerRequest("r-1", intent), **fields)


def peer_progress(**fields: Any) -> Peer:
    """Make a peer's progress on a request."""
    return _peer(PeerResponseProgress("r-1", ProgressPhase.IN_PROGRESS), **fields)


def peer_terminal(**fields: Any) -> Peer:
    """Make the end of a request to a peer."""
    return _peer(PeerResponseTerminal("r-1", ResponseStatus.COMPLETED), **fields)


# --- the scene -----------------------------------------------------------------------------------


class Scene:
    """One driver and what happens to it."""

    def __init__(self, *, state: RuntimeState = RuntimeState.IDLE, **options: Any) -> None:
        self.options = DriverOptions(**options)
        self.now = START
        runtime = RuntimeRecord(RUNTIME, state, 1, START, START)
        self.driver = Driver.fresh(runtime, self.options)

    # --- what happens ----------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def accept(
        self,
        item: Input,
        *,
        reply: ReplyTo | None = None,
        known: Known | None = None,
        redrive: bool = False,
    ) -> Outcome:
        """Have an input arrive."""
        arrival = Arrival(
            self.now, known or Known(), reply=reply, traceparent="trace-1", redrive=redrive
        )
        return self.driver.apply(InputMessage(RUNTIME, item), arrival)

    def accept_all(self, *items: Input) -> list[InputId]:
        """Have inputs arrive, and name them."""
        for item in items:
            self.accept(item)
        return [item.header.id for item in items]

    def tell(self, command: Command, *, known: Known | None = None) -> Outcome:
        """Have a command arrive."""
        arrival = Arrival(self.now, known or Known())
        return self.driver.apply(CommandMessage(RUNTIME, command), arrival)

    def start(self, *, forced: bool = False) -> RunStart | NothingToRun:
        """Look for a run to begin."""
        return self.driver.start_run(new_id(), now=self.now, forced=forced)

    def started(self) -> RunStart:
        """Begin a run that must begin."""
        start = self.start()
        assert isinstance(start, RunStart)
        return start

    def hear(self, event: RunEvent, *, known: Known | None = None, jitter: float = 0.0) -> Outcome:
        """Have a run event arrive."""
        arrival = Arrival(self.now, known or Known(), jitter)
        return self.driver.apply(RunEventMessage(RUNTIME, new_id(), event), arrival)

    def boundary(
        self,
        ids: Sequence[InputId] | None = None,
        *,
        snapshot: SessionSnapshot | None = None,
        **fields: Any,
    ) -> Outcome:
        """Have the current run apply inputs: all of its batch unless some are named."""
        return self.hear(BoundaryApplied(self.run_id, self.receipt(ids, **fields), snapshot))

    def receipt(self, ids: Sequence[InputId] | None = None, **fields: Any) -> Receipt:
        """Make the next receipt of the current run."""
        run = self.driver.run
        assert run is not None
        known: dict[str, Any] = {
            "run_id": run.run_id,
            "boundary": run.boundary,
            "contributing_input_ids": run.batch if ids is None else tuple(ids),
            "message_count": 1,
            "sequence": run.next_boundary,
        }
        return Receipt(**known | fields)

    def complete(self, ids: Sequence[InputId] | None = None, result: Any = None) -> Outcome:
        """Have the current run end well."""
        run = self.driver.run
        assert run is not None
        consumed = run.batch if ids is None else tuple(ids)
        return self.hear(RunCompleted(run.run_id, consumed, result))

    def fail(self, *, recoverable: bool = True, jitter: float = 0.0) -> Outcome:
        """Have the current run fail."""
        return self.hear(RunFailed(self.run_id, "boom", recoverable), jitter=jitter)

    def perform(self) -> RunStart:
        """Have the next run happen from begin to end."""
        start = self.started()
        self.hear(RunStarted(start.run_id))
        self.boundary()
        self.complete()
        return start

    def recover(self, **options: Any) -> Recovered:
        """Drop the driver and recover it from what it stored."""
        stored = self.driver.stored()
        recovered = recover(stored, now=self.now, options=self.options, **options)
        self.driver = recovered.driver
        return recovered

    # --- what is to be seen ----------------------------------------------------------------------

    @property
    def run_id(self) -> RunId:
        """The current run."""
        run = self.driver.run
        assert run is not None
        return run.run_id

    @property
    def state(self) -> RuntimeState:
        """Where the runtime is in its life."""
        return self.driver.runtime.state

    @property
    def queue(self) -> list[InputId]:
        """The queue lane."""
        return self.driver.waiting(Lane.QUEUE)

    @property
    def steer(self) -> list[InputId]:
        """The steer lane."""
        return self.driver.waiting(Lane.STEER)

    def record(self, input_id: InputId) -> InputRecord:
        """The record of an input that the driver knows."""
        record = self.driver.find(input_id)
        assert record is not None
        return record

    def states(self, *ids: InputId) -> list[InputState]:
        """Where inputs are in their lives."""
        return [self.record(input_id).state for input_id in ids]


def effects(changes: Changes, kind: type[_E]) -> list[_E]:
    """Pick the effects of one kind."""
    return [effect for effect in changes.effects if isinstance(effect, kind)]


def completions(changes: Changes) -> dict[InputId, Any]:
    """Tell what was answered about which input."""
    return {effect.input_id: effect.outcome for effect in effects(changes, Complete)}


def announced(changes: Changes) -> list[Any]:
    """Tell what observers were told, without its wrappings."""
    return [effect.event.data for effect in effects(changes, Announce)]


def stored(scene: Scene, **changes: Any) -> StoredRuntime:
    """Tell what the store would hold, with parts of it replaced."""
    return msgspec.structs.replace(scene.driver.stored(), **changes)


RUN_START = Boundary.RUN_START
CHECKPOINT = Boundary.RUN_CHECKPOINT
DERIVED = Durability.DERIVED
EPHEMERAL = Durability.EPHEMERAL
STEER = HandlingMode.STEER
QUEUE = HandlingMode.QUEUE
