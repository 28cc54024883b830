"""Inputs: the six kinds of work that can be sent to a runtime."""

from __future__ import annotations

import enum
import hashlib
from datetime import datetime
from typing import Annotated, Any, Final, assert_never

import msgspec

from schemas.content import Block
from schemas.ids import InputId, Key, RuntimeIdText

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment, RFC 3339, with its offset from UTC."""


class InputKind(enum.StrEnum):
    """What the policy table looks at. A peer input's convention decides its kind."""

    PROMPT = "prompt"
    PEER_MESSAGE = "peer_message"
    PEER_REQUEST = "peer_request"
    PEER_RESPONSE_PROGRESS = "peer_response_progress"
    PEER_RESPONSE_TERMINAL = "peer_response_terminal"
    FLOW_STEP = "flow_step"
    EXTERNAL_EVENT = "external_event"
    CONTINUATION = "continuation"
    OPERATION = "operation"
    UNKNOWN = "unknown"


class Durability(enum.StrEnum):
    """Whether an input survives recovery, and whether it may be made from other state."""

    DURABLE = "durable"
    EPHEMERAL = "ephemeral"
    DERIVED = "derived"


class HandlingMode(enum.StrEnum):
    """A publisher's hint: wait in the queue lane, or steer what is going on."""

    QUEUE = "queue"
    STEER = "steer"


class _Wire(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


# --- where an input comes from -------------------------------------------------------------------


class OperatorSource(_Wire, frozen=True, tag_field="type", tag="operator"):
    """A person."""


class PeerSource(_Wire, frozen=True, tag_field="type", tag="peer"):
    """Another agent."""

    peer_id: str
    runtime_id: RuntimeIdText | None = None


class FlowSource(_Wire, frozen=True, tag_field="type", tag="flow"):
    """A step of a flow."""

    flow_id: str
    step_index: int


class SystemSource(_Wire, frozen=True, tag_field="type", tag="system"):
    """The runtime's own surroundings."""


class ExternalSource(_Wire, frozen=True, tag_field="type", tag="external"):
    """A system outside, by name."""

    source_name: str


Source = OperatorSource | PeerSource | FlowSource | SystemSource | ExternalSource


class Visibility(msgspec.Struct, frozen=True):
    """Who may see the input's content."""

    transcript_eligible: bool = True
    operator_eligible: bool = True


_VISIBLE: Final = Visibility()


class Header(_Wire, frozen=True):
    """What every input carries. A publisher may leave out all but ``id`` and ``source``."""

    id: InputId
    source: Source
    timestamp: Timestamp | None = None
    durability: Durability = Durability.DURABLE
    visibility: Visibility = _VISIBLE
    idempotency_key: Key | None = None
    supersession_key: Key | None = None
    correlation_id: str | None = None


# --- metadata of a turn --------------------------------------------------------------------------


class SkillReference(_Wire, frozen=True):
    """A skill to load for the turn."""

    source_uuid: str
    skill_name: str


class FlowToolOverlay(_Wire, frozen=True):
    """Tools that a flow allows or blocks for the turn."""

    allowed_tools: tuple[str, ...] | None = None
    blocked_tools: tuple[str, ...] | None = None


class RenderMetadata(_Wire, frozen=True, rename={"class_": "class"}):
    """How content is to be shown."""

    class_: str
    salience: str | None = None


class TurnMetadata(_Wire, frozen=True):
    """Hints for the turn that an input starts; merged over the batch of a run."""

    handling_mode: HandlingMode | None = None
    keep_alive: bool | None = None
    skill_references: tuple[SkillReference, ...] | None = None
    flow_tool_overlay: FlowToolOverlay | None = None
    additional_instructions: tuple[str, ...] | None = None
    model: str | None = None
    provider: str | None = None
    provider_params: Any = None
    render_metadata: RenderMetadata | None = None


# --- conventions of peer inputs ------------------------------------------------------------------


class ProgressPhase(enum.StrEnum):
    """How far a peer's response has come."""

    ACCEPTED = "accepted"
    IN_PROGRESS = "in_progress"
    PARTIAL_RESULT = "partial_result"


class ResponseStatus(enum.StrEnum):
    """How a peer's response ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PeerMessage(_Wire, frozen=True, tag_field="convention_type", tag="message"):
    """A message that asks for nothing."""


class PeerRequest(_Wire, frozen=True, tag_field="convention_type", tag="request"):
    """A request; its intent may be one that the runtime takes silently."""

    request_id: str
    intent: str


class PeerResponseProgress(
    _Wire, frozen=True, tag_field="convention_type", tag="response_progress"
):
    """Progress on a request."""

    request_id: str
    phase: ProgressPhase


class PeerResponseTerminal(
    _Wire, frozen=True, tag_field="convention_type", tag="response_terminal"
):
    """The end of a request."""

    request_id: str
    status: ResponseStatus


Convention = PeerMessage | PeerRequest | PeerResponseProgress | PeerResponseTerminal


# --- events of operations ------------------------------------------------------------------------


class OperationStarted(_Wire, frozen=True, tag_field="type", tag="started"):
    """An operation began."""

    id: str
    kind: str


class OperationProgress(_Wire, frozen=True, tag_field="type", tag="progress"):
    """An operation moved on."""

    id: str
    message: str
    percent: float | None = None


class OperationCompleted(_Wire, frozen=True, tag_field="type", tag="completed"):
    """An operation ended well."""

    id: str
    result: Any


class OperationFailed(_Wire, frozen=True, tag_field="type", tag="failed"):
    """An operation failed."""

    id: str
    error: str


class OperationCancelled(_Wire, frozen=True, tag_field="type", tag="cancelled"):
    """An operation was cancelled."""

    id: str


OperationEvent = (
    OperationStarted | OperationProgress | OperationCompleted | OperationFailed | OperationCancelled
)


# --- the six kinds -------------------------------------------------------------------------------


class Prompt(_Wire, frozen=True, tag_field="input_type", tag="prompt"):
    """Text that asks the agent for a turn."""

    header: Header
    text: str
    blocks: tuple[Block, ...] | None = None
    turn_metadata: TurnMetadata | None = None


class Peer(_Wire, frozen=True, tag_field="input_type", tag="peer"):
    """A message from another agent."""

    header: Header
    body: str
    convention: Convention | None = None
    blocks: tuple[Block, ...] | None = None


class FlowStep(_Wire, frozen=True, tag_field="input_type", tag="flow_step"):
    """A step that a flow asks for."""

    header: Header
    step_id: str
    instructions: str
    blocks: tuple[Block, ...] | None = None
    turn_metadata: TurnMetadata | None = None


class ExternalEvent(_Wire, frozen=True, tag_field="input_type", tag="external_event"):
    """Something that happened outside."""

    header: Header
    event_type: str
    payload: Any
    blocks: tuple[Block, ...] | None = None
    handling_mode: HandlingMode = HandlingMode.QUEUE
    render_metadata: RenderMetadata | None = None


class Continuation(_Wire, frozen=True, tag_field="input_type", tag="continuation"):
    """The runtime asks itself to go on."""

    header: Header
    reason: str
    handling_mode: HandlingMode = HandlingMode.QUEUE
    request_id: str | None = None


class SystemGenerated(Continuation, frozen=True, tag="system_generated"):
    """The older name of a continuation on the wire."""


class Operation(_Wire, frozen=True, tag_field="input_type", tag="operation"):
    """A notice about a background operation; recorded, never run."""

    header: Header
    operation_id: str
    event: OperationEvent


class Projected(Operation, frozen=True, tag="projected"):
    """The older name of an operation on the wire."""


Input = Prompt | Peer | FlowStep | ExternalEvent | Continuation | Operation
WireInput = Input | SystemGenerated | Projected
"""What may stand in a message; ``canonical`` turns the older names into the newer."""


def canonical(received: WireInput, *, received_at: datetime) -> Input:
    """Bring a received input to its one canonical form.

    Older names become the newer ones, a missing timestamp becomes ``received_at``, and an external
    event's legacy ``payload.blocks`` moves to ``blocks``.

    Raises:
        msgspec.ValidationError: The legacy blocks are not blocks.
    """
    header = received.header
    if header.timestamp is None:
        header = msgspec.structs.replace(header, timestamp=received_at)
    match received:
        case Continuation():
            return Continuation(
                header, received.reason, received.handling_mode, received.request_id
            )
        case Operation():
            return Operation(header, received.operation_id, received.event)
        case ExternalEvent():
            return msgspec.structs.replace(_with_blocks_moved(received), header=header)
        case Prompt() | Peer() | FlowStep():
            if header is received.header:
                return received
            return msgspec.structs.replace(received, header=header)
        case _:
            assert_never(received)


def _with_blocks_moved(event: ExternalEvent) -> ExternalEvent:
    payload = event.payload
    if event.blocks is not None or not isinstance(payload, dict) or "blocks" not in payload:
        return event
    blocks = msgspec.convert(payload["blocks"], tuple[Block, ...])
    rest = {name: value for name, value in payload.items() if name != "blocks"}
    return msgspec.structs.replace(event, blocks=blocks, payload=rest)


def kind_of(item: Input) -> InputKind:
    """Name the kind that the policy table decides by."""
    match item:
        case Prompt():
            return InputKind.PROMPT
        case Peer():
            return _peer_kind(item.convention)
        case FlowStep():
            return InputKind.FLOW_STEP
        case ExternalEvent():
            return InputKind.EXTERNAL_EVENT
        case Continuation():
            return InputKind.CONTINUATION
        case Operation():
            return InputKind.OPERATION
        case _:
            assert_never(item)


def _peer_kind(convention: Convention | None) -> InputKind:
    match convention:
        case None | PeerMessage():
            return InputKind.PEER_MESSAGE
        case PeerRequest():
            return InputKind.PEER_REQUEST
        case PeerResponseProgress():
            return InputKind.PEER_RESPONSE_PROGRESS
        case PeerResponseTerminal():
            return InputKind.PEER_RESPONSE_TERMINAL
        case _:
            assert_never(convention)


def handling_hint(item: Input) -> HandlingMode | None:
    """Tell the publisher's hint; peer and operation inputs have none."""
    match item:
        case Prompt() | FlowStep():
            return None if item.turn_metadata is None else item.turn_metadata.handling_mode
        case ExternalEvent() | Continuation():
            return item.handling_mode
        case Peer() | Operation():
            return None
        case _:
            assert_never(item)


_encoder = msgspec.json.Encoder(order="sorted")


def payload_digest(item: Input) -> str:
    """Fingerprint what an input asks for: two inputs of one id and unequal digests are in conflict.

    The timestamp is left out (a publisher that retries may stamp anew), and so are fields that the
    contract does not know. SHA-256, hex.
    """
    # A default is left out of the JSON if it is the default's own object: a visibility that was
    # spelled out must not differ from one that was left out.
    visibility = item.header.visibility
    header = msgspec.structs.replace(
        item.header,
        timestamp=None,
        visibility=_VISIBLE if visibility == _VISIBLE else visibility,
    )
    return hashlib.sha256(_encoder.encode(msgspec.structs.replace(item, header=header))).hexdigest()
