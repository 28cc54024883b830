"""Drafts: inputs as a publisher writes them, without header or ceremony.

A draft is given its id and its timestamp when it is made and keeps them, so publishing the same
draft again is a retry and never a second input. An input that was made some other way
(``schemas.inputs``) can be published just as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from schemas import inputs
from schemas.content import Block
from schemas.ids import InputId
from schemas.inputs import (
    Convention,
    Durability,
    ExternalSource,
    FlowSource,
    HandlingMode,
    Header,
    OperationEvent,
    OperatorSource,
    PeerSource,
    ProgressPhase,
    RenderMetadata,
    ResponseStatus,
    Source,
    SystemSource,
    TurnMetadata,
    Visibility,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What all drafts share.

    Args:
        id: Names the input. A new UUID (version 7) when left out.
        key: Idempotency key: of all inputs of a runtime with this key, the first one counts.
        supersession_key: Scope within which a newer input may stand for an older one.
        correlation_id: Yours; it travels with the input.
        durability: Whether the input survives a recovery of its runtime.
        visibility: Who may see the content.
        timestamp: When the input was written, with an offset from UTC.
    """

    id: InputId = field(default_factory=uuid7)
    key: str | None = None
    supersession_key: str | None = None
    correlation_id: str | None = None
    durability: Durability = Durability.DURABLE
    visibility: Visibility = field(default_factory=Visibility)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_input(self) -> inputs.Input:
        """Make the input that is published."""
        raise NotImplementedError

    def _header(self, source: Source) -> Header:
        return Header(
            id=self.id,
            source=source,
            timestamp=self.timestamp,
            durability=self.durability,
            visibility=self.visibility,
            idempotency_key=self.key,
            supersession_key=self.supersession_key,
            correlation_id=self.correlation_id,
        )


@dataclass(frozen=True, slots=True)
class Prompt(Draft):
    """Text from a person that asks for a turn; ``steer`` slips it into the current one."""

    text: str
    blocks: Sequence[Block] = field(default=(), kw_only=True)
    steer: bool = field(default=False, kw_only=True)
    turn_metadata: TurnMetadata | None = field(default=None, kw_only=True)

    def to_input(self) -> inputs.Prompt:
        """Make the input that is published."""
        return inputs.Prompt(
            self._header(OperatorSource()),
            self.text,
            _blocks(self.blocks),
            _turn_metadata(self.turn_metadata, steer=self.steer),
        )


@dataclass(frozen=True, slots=True)
class FlowStep(Draft):
    """A step that the flow named ``flow`` asks for; ``index`` is its place, from 0."""

    step_id: str
    instructions: str
    flow: str = field(kw_only=True)
    index: int = field(kw_only=True)
    blocks: Sequence[Block] = field(default=(), kw_only=True)
    steer: bool = field(default=False, kw_only=True)
    turn_metadata: TurnMetadata | None = field(default=None, kw_only=True)

    def to_input(self) -> inputs.FlowStep:
        """Make the input that is published."""
        return inputs.FlowStep(
            self._header(FlowSource(self.flow, self.index)),
            self.step_id,
            self.instructions,
            _blocks(self.blocks),
            _turn_metadata(self.turn_metadata, steer=self.steer),
        )


@dataclass(frozen=True, slots=True)
class PeerMessage(Draft):
    """A message from another agent, ``peer``, that asks for nothing."""

    body: str
    peer: str = field(kw_only=True)
    peer_runtime_id: str | None = field(default=None, kw_only=True)
    blocks: Sequence[Block] = field(default=(), kw_only=True)

    def to_input(self) -> inputs.Peer:
        """Make the input that is published."""
        source = PeerSource(self.peer, self.peer_runtime_id)
        return inputs.Peer(
            self._header(source), self.body, self._convention(), _blocks(self.blocks)
        )

    def _convention(self) -> Convention:
        return inputs.PeerMessage()


@dataclass(frozen=True, slots=True)
class PeerRequest(PeerMessage):
    """A request from another agent; its intent may be one that the runtime takes silently."""

    request_id: str = field(kw_only=True)
    intent: str = field(kw_only=True)

    def _convention(self) -> Convention:
        return inputs.PeerRequest(self.request_id, self.intent)


@dataclass(frozen=True, slots=True)
class PeerProgress(PeerMessage):
    """Another agent's progress on a request of this runtime."""

    request_id: str = field(kw_only=True)
    phase: ProgressPhase = field(default=ProgressPhase.IN_PROGRESS, kw_only=True)

    def _convention(self) -> Convention:
        return inputs.PeerResponseProgress(self.request_id, self.phase)


@dataclass(frozen=True, slots=True)
class PeerResponse(PeerMessage):
    """Another agent's last word on a request of this runtime."""

    request_id: str = field(kw_only=True)
    status: ResponseStatus = field(default=ResponseStatus.COMPLETED, kw_only=True)

    def _convention(self) -> Convention:
        return inputs.PeerResponseTerminal(self.request_id, self.status)


@dataclass(frozen=True, slots=True)
class ExternalEvent(Draft):
    """Something that happened outside. ``payload`` is any JSON; ``source_name`` says where."""

    event_type: str
    payload: Any = None
    source_name: str = field(default="", kw_only=True)
    blocks: Sequence[Block] = field(default=(), kw_only=True)
    steer: bool = field(default=False, kw_only=True)
    render_metadata: RenderMetadata | None = field(default=None, kw_only=True)

    def to_input(self) -> inputs.ExternalEvent:
        """Make the input that is published."""
        return inputs.ExternalEvent(
            self._header(ExternalSource(self.source_name)),
            self.event_type,
            self.payload,
            _blocks(self.blocks),
            HandlingMode.STEER if self.steer else HandlingMode.QUEUE,
            self.render_metadata,
        )


@dataclass(frozen=True, slots=True)
class Continuation(Draft):
    """The runtime's surroundings ask it to go on."""

    reason: str
    request_id: str | None = field(default=None, kw_only=True)
    steer: bool = field(default=False, kw_only=True)

    def to_input(self) -> inputs.Continuation:
        """Make the input that is published."""
        mode = HandlingMode.STEER if self.steer else HandlingMode.QUEUE
        return inputs.Continuation(self._header(SystemSource()), self.reason, mode, self.request_id)


@dataclass(frozen=True, slots=True)
class Operation(Draft):
    """A notice about a background operation; it is recorded and never run."""

    operation_id: str
    event: OperationEvent

    def to_input(self) -> inputs.Operation:
        """Make the input that is published."""
        return inputs.Operation(self._header(SystemSource()), self.operation_id, self.event)


def _blocks(blocks: Sequence[Block]) -> tuple[Block, ...] | None:
    return tuple(blocks) or None


def _turn_metadata(given: TurnMetadata | None, *, steer: bool) -> TurnMetadata | None:
    if not steer:
        return given
    return msgspec.structs.replace(given or TurnMetadata(), handling_mode=HandlingMode.STEER)
