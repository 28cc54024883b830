"""Admission: what becomes of an input that arrives.

The order of the checks is part of the contract.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, assert_never

import msgspec

from schemas.events import (
    InputAccepted,
    InputCoalesced,
    InputConsumed,
    InputDeduplicated,
    InputQueued,
    InputSuperseded,
)
from schemas.ids import InputId
from schemas.inputs import (
    Durability,
    ExternalSource,
    Header,
    Input,
    InputKind,
    OperatorSource,
    Peer,
    PeerRequest,
    PeerSource,
    handling_hint,
    kind_of,
    payload_digest,
)
from schemas.lifecycle import InputState, RuntimeState
from schemas.outcomes import (
    Accepted,
    Coalesced,
    CoalescedOutcome,
    CompletedOutcome,
    Conflict,
    ConflictOutcome,
    Consumed,
    Deduplicated,
    DeduplicatedOutcome,
    NotReady,
    NotReadyOutcome,
    Rejected,
    RejectedOutcome,
    Superseded,
    SupersededOutcome,
)
from schemas.policy import ConsumePoint, PolicyDecision, QueueMode, WakeMode
from schemas.records import HistoryEntry, InputRecord, KnownInput, SignalExecutor
from schemas.runs import SignalKind
from worker.driver.arrival import Arrival
from worker.driver.input_table import InputEvent
from worker.driver.ledger import Ledger
from worker.driver.policy import silenced
from worker.driver.runtime_table import accepts_input

Admission = Accepted | Deduplicated | Conflict | Rejected | NotReady

_IDLE: Final = (RuntimeState.IDLE, RuntimeState.ATTACHED)
_NEVER_DERIVED: Final = frozenset(
    {
        InputKind.PROMPT,
        InputKind.FLOW_STEP,
        InputKind.PEER_MESSAGE,
        InputKind.PEER_REQUEST,
        InputKind.PEER_RESPONSE_TERMINAL,
    }
)

REDRIVEN: Final = "redriven by an operator"
"""What the history says of an input that was brought back."""

Twin = InputRecord | KnownInput
"""An input that is known already: from the ledger or from the store."""


def admit(ledger: Ledger, item: Input, arrival: Arrival) -> Admission:
    """Decide about one input, and enter it if it is new and may come in."""
    if not accepts_input(ledger.runtime):
        return _not_ready(ledger, item, arrival)
    header = item.header
    kind = kind_of(item)
    fault = durability_fault(kind, header)
    if fault is not None:
        ledger.complete(header.id, arrival.reply, RejectedOutcome(fault))
        return Rejected(fault)
    digest = payload_digest(item)
    known = _known(ledger, header, digest, arrival)
    if known is not None:
        return known
    return _enter(ledger, item, kind, digest, arrival)


def durability_fault(kind: InputKind, header: Header) -> str | None:
    """Tell why an input may not have the durability that it claims, or None if it may."""
    if header.durability is not Durability.DERIVED:
        return None
    source = header.source
    if isinstance(source, OperatorSource | PeerSource | ExternalSource):
        return f"durability: derived is not for inputs of source {source.__struct_config__.tag}"
    if kind in _NEVER_DERIVED:
        return f"durability: derived is not for inputs of kind {kind}"
    return None


def _not_ready(ledger: Ledger, item: Input, arrival: Arrival) -> NotReady:
    """Answer for a runtime that takes no input.

    A redelivery of an input that was taken before is marked as such, and whoever asks is answered
    as for any duplicate: to be told that it was refused would be false.
    """
    header = item.header
    retired = ledger.runtime.resting_state is RuntimeState.RETIRED
    state = RuntimeState.RETIRED if retired else ledger.runtime.state
    twin = _twin_by_id(ledger, header, arrival)
    if twin is None or twin.payload_digest != payload_digest(item):
        ledger.complete(header.id, arrival.reply, NotReadyOutcome(state))
        return NotReady(state)
    _answer_again(ledger, header, twin, arrival)
    return NotReady(state, known=True)


# --- duplicates ----------------------------------------------------------------------------------


def _known(
    ledger: Ledger, header: Header, digest: str, arrival: Arrival
) -> Deduplicated | Conflict | None:
    twin = _twin_by_id(ledger, header, arrival)
    if twin is not None and twin.payload_digest != digest:
        ledger.complete(header.id, arrival.reply, ConflictOutcome())
        return Conflict(header.id, twin.payload_digest, digest)
    if twin is None:
        twin = _twin_by_key(ledger, header, arrival)
    if twin is None:
        return None
    _answer_again(ledger, header, twin, arrival)
    ledger.announce_input(InputDeduplicated(header.id, twin.input_id))
    return Deduplicated(header.id, twin.input_id)


def _answer_again(ledger: Ledger, header: Header, twin: Twin, arrival: Arrival) -> None:
    """Answer a duplicate: at once, unless it is an active input itself, which answers at its end.

    Then the latest asker is told: an earlier one may be gone, and its reply queue with it.
    """
    active = ledger.active.get(header.id)
    if active is None:
        answer = DeduplicatedOutcome(twin.input_id, twin.outcome)
        ledger.complete(header.id, arrival.reply, answer)
    elif arrival.reply is not None and arrival.reply != active.reply:
        ledger.put(msgspec.structs.replace(active, reply=arrival.reply, updated_at=arrival.now))


def _twin_by_id(ledger: Ledger, header: Header, arrival: Arrival) -> Twin | None:
    if _brought_back(ledger, header.id, arrival) is not None:
        return None
    return ledger.find(header.id) or arrival.known.inputs.get(header.id)


def _twin_by_key(ledger: Ledger, header: Header, arrival: Arrival) -> Twin | None:
    key = header.idempotency_key
    if key is None:
        return None
    twin = ledger.find_by_key(key) or arrival.known.keys.get(key)
    # Unknown by its id and known by its key: it is the input itself, brought back.
    return None if twin is None or twin.input_id == header.id else twin


def _brought_back(ledger: Ledger, input_id: InputId, arrival: Arrival) -> InputRecord | None:
    """Find the input that a redrive admits again under its own id, perhaps with another payload.

    This is the one way out of a terminal state: an operator's act, and only for an input whose
    attempts are exhausted. The same redrive delivered twice finds the input active, or ended anew,
    and is a duplicate like any other.
    """
    if not arrival.redrive or ledger.find(input_id) is not None:
        return None
    return arrival.known.exhausted.get(input_id)


# --- new inputs ----------------------------------------------------------------------------------


def _enter(ledger: Ledger, item: Input, kind: InputKind, digest: str, arrival: Arrival) -> Accepted:
    decision = _decide(ledger, item, kind)
    record = _record(ledger, item, kind, digest, decision, arrival)
    ledger.set_runtime(arrival.now, next_sequence=record.sequence + 1)
    earlier = _brought_back(ledger, record.input_id, arrival)
    if earlier is None:
        ledger.admit(record)
    else:
        record = _continued(earlier, record)
        ledger.put(record)
    ledger.announce_input(InputAccepted(record.input_id))
    if decision.consume_point is ConsumePoint.ON_ACCEPT:
        _consume(ledger, record, arrival.now)
    else:
        _queue(ledger, record, decision, arrival.now)
        _rouse(ledger, decision, arrival.now)
    return Accepted(record.input_id, decision)


def _decide(ledger: Ledger, item: Input, kind: InputKind) -> PolicyDecision:
    idle = ledger.runtime.state in _IDLE
    decision = ledger.options.policy.resolve(kind, handling_hint(item), idle=idle)
    return silenced(decision) if _is_silent(ledger, item) else decision


def _is_silent(ledger: Ledger, item: Input) -> bool:
    intents = ledger.runtime.silent_intents
    if not intents or not isinstance(item, Peer):
        return False
    return isinstance(item.convention, PeerRequest) and item.convention.intent in intents


def _record(
    ledger: Ledger,
    item: Input,
    kind: InputKind,
    digest: str,
    decision: PolicyDecision,
    arrival: Arrival,
) -> InputRecord:
    header = item.header
    return InputRecord(
        input_id=header.id,
        sequence=ledger.runtime.next_sequence,
        kind=kind,
        durability=header.durability,
        state=InputState.ACCEPTED,
        lane=None,
        payload_digest=digest,
        created_at=arrival.now,
        updated_at=arrival.now,
        policy=decision,
        idempotency_key=header.idempotency_key,
        supersession_key=header.supersession_key,
        reply=arrival.reply,
        traceparent=arrival.traceparent,
    )


def _continued(earlier: InputRecord, record: InputRecord) -> InputRecord:
    """Carry on the history of an input that is brought back; its attempts count anew."""
    back = HistoryEntry(record.created_at, earlier.state, record.state, REDRIVEN)
    return msgspec.structs.replace(
        record,
        created_at=earlier.created_at,
        recovery_count=earlier.recovery_count,
        history=(*earlier.history, back),
    )


def _consume(ledger: Ledger, record: InputRecord, now: datetime) -> None:
    ledger.move(record, InputEvent.CONSUME_ON_ACCEPT, now, outcome=Consumed())
    ledger.announce_input(InputConsumed(record.input_id))
    ledger.complete(record.input_id, record.reply, CompletedOutcome())


def _queue(ledger: Ledger, record: InputRecord, decision: PolicyDecision, now: datetime) -> None:
    _displace(ledger, record, decision, now)
    queued = ledger.move(record, InputEvent.QUEUE_ACCEPTED, now, lane=decision.lane)
    ledger.lanes.enter(queued)
    ledger.announce_input(InputQueued(record.input_id))


def _displace(ledger: Ledger, record: InputRecord, decision: PolicyDecision, now: datetime) -> None:
    """End the waiting inputs whose place the new one takes. Never across kinds or without a key."""
    key = record.supersession_key
    if key is None:
        return
    match decision.queue_mode:
        case QueueMode.COALESCE:
            for input_id in ledger.lanes.in_scope(record.kind, key):
                _coalesce(ledger, ledger.active[input_id], record.input_id, now)
        case QueueMode.SUPERSEDE:
            for input_id in ledger.lanes.in_scope(record.kind, key):
                _supersede(ledger, ledger.active[input_id], record.input_id, now)
        case QueueMode.NONE | QueueMode.FIFO | QueueMode.PRIORITY:
            return
        case _:
            assert_never(decision.queue_mode)


def _coalesce(ledger: Ledger, earlier: InputRecord, into: InputId, now: datetime) -> None:
    ledger.pull(earlier, InputEvent.COALESCE, now, outcome=Coalesced(into))
    ledger.announce_input(InputCoalesced(earlier.input_id, into))
    ledger.complete(earlier.input_id, earlier.reply, CoalescedOutcome(into))


def _supersede(ledger: Ledger, earlier: InputRecord, by: InputId, now: datetime) -> None:
    ledger.pull(earlier, InputEvent.SUPERSEDE, now, outcome=Superseded(by))
    ledger.announce_input(InputSuperseded(earlier.input_id, by))
    ledger.complete(earlier.input_id, earlier.reply, SupersededOutcome(by))


def _rouse(ledger: Ledger, decision: PolicyDecision, now: datetime) -> None:
    """Wake the runtime, or have the executor of its current run yield."""
    run = ledger.run
    if decision.wake_mode is WakeMode.WAKE_IF_IDLE:
        ledger.wake(now)
    elif decision.wake_mode is WakeMode.INTERRUPT_YIELDING and run is not None:
        ledger.pending.effect(SignalExecutor(SignalKind.INTERRUPT, run.run_id))
