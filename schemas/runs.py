"""Runs: the request that an executor takes, the events it answers with, and the receipt."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec

from schemas.content import BlobRef, Block
from schemas.ids import InputId, RunId, RuntimeIdText
from schemas.inputs import Timestamp, TurnMetadata

Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Boundary(enum.StrEnum):
    """The point in a run at which staged inputs are applied."""

    IMMEDIATE = "immediate"
    RUN_START = "run_start"
    RUN_CHECKPOINT = "run_checkpoint"


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The durable proof of one boundary.

    ``conversation_digest`` is SHA-256 in hex; our executor kit computes it over the bytes of the
    session snapshot. ``sequence`` counts from 0 within a run.
    """

    run_id: RunId
    boundary: Boundary
    contributing_input_ids: tuple[InputId, ...]
    message_count: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    sequence: Sequence
    conversation_digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")] | None = None


SessionSnapshot = str | BlobRef
"""Base64 text, or a reference to a blob."""


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event_type"):
    run_id: RunId


class RunStarted(_Event, frozen=True, tag="run_started"):
    """An executor took the run: its lease begins."""


class RunHeartbeat(_Event, frozen=True, tag="run_heartbeat"):
    """The executor is alive: the lease is extended."""


class BoundaryApplied(_Event, frozen=True, tag="boundary_applied"):
    """Staged inputs were applied to the conversation."""

    receipt: Receipt
    session_snapshot: SessionSnapshot | None = None


class RunCompleted(_Event, frozen=True, tag="run_completed"):
    """The run ended well."""

    consumed_input_ids: tuple[InputId, ...]
    result: Any = None


class RunFailed(_Event, frozen=True, tag="run_failed"):
    """The run failed.

    ``lease_until`` is set only by the worker that noticed an expired lease: the deadline that it
    saw pass. The event is stale when the lease was extended in the meantime.
    """

    error: str
    recoverable: bool
    lease_until: Timestamp | None = None


class RunCancelled(_Event, frozen=True, tag="run_cancelled"):
    """The run was cancelled."""


RunEvent = RunStarted | RunHeartbeat | BoundaryApplied | RunCompleted | RunFailed | RunCancelled


class Append(msgspec.Struct, frozen=True):
    """One message to append to the conversation: text, or blocks."""

    role: Literal["user"]
    content: str | tuple[Block, ...]


class StagedInput(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="primitive_type", tag="staged_input"
):
    """The primitive of a run: what to append, at which boundary, on behalf of which inputs."""

    boundary: Boundary
    appends: tuple[Append, ...]
    contributing_input_ids: tuple[InputId, ...]
    turn_metadata: TurnMetadata | None = None


class RunRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an executor takes from its pool.

    ``attempt`` counts from 1: the highest attempt among the batch. ``lease_seconds`` is how long
    the run lives without a heartbeat once started.
    """

    run_id: RunId
    runtime_id: RuntimeIdText
    epoch: int
    attempt: int
    primitive: StagedInput
    lease_seconds: float
    session_snapshot: SessionSnapshot | None = None


class SignalKind(enum.StrEnum):
    """What an executor that holds a run is told."""

    CANCEL_RUN = "cancel_run"
    INTERRUPT = "interrupt"
