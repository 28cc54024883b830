"""Runtime events: what observers are told after the commit."""

from __future__ import annotations

import msgspec

from schemas.ids import EventId, InputId, RunId, RuntimeIdText
from schemas.inputs import Timestamp
from schemas.lifecycle import AbandonReason, RuntimeState


class _Coded(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="code"):
    pass


# --- inputs --------------------------------------------------------------------------------------


class InputAccepted(_Coded, frozen=True, tag="accepted"):
    """An input was admitted."""

    input_id: InputId


class InputDeduplicated(_Coded, frozen=True, tag="deduplicated"):
    """An input was known already."""

    input_id: InputId
    existing_id: InputId


class InputSuperseded(_Coded, frozen=True, tag="superseded"):
    """A newer input took its place."""

    input_id: InputId
    superseded_by: InputId


class InputCoalesced(_Coded, frozen=True, tag="coalesced"):
    """A newer input stands for it."""

    input_id: InputId
    aggregate_id: InputId


class InputQueued(_Coded, frozen=True, tag="queued"):
    """An input waits in its lane."""

    input_id: InputId


class InputStaged(_Coded, frozen=True, tag="staged"):
    """An input is part of a run."""

    input_id: InputId
    run_id: RunId


class InputApplied(_Coded, frozen=True, tag="applied"):
    """An input was applied at a boundary."""

    input_id: InputId
    run_id: RunId


class InputConsumed(_Coded, frozen=True, tag="consumed"):
    """An input is done; ``run_id`` is absent when it was consumed on acceptance."""

    input_id: InputId
    run_id: RunId | None = None


class InputAbandoned(_Coded, frozen=True, tag="abandoned"):
    """An input was given up."""

    input_id: InputId
    reason: AbandonReason


InputLifecycle = (
    InputAccepted
    | InputDeduplicated
    | InputSuperseded
    | InputCoalesced
    | InputQueued
    | InputStaged
    | InputApplied
    | InputConsumed
    | InputAbandoned
)

# --- runs ----------------------------------------------------------------------------------------


class RunStartedEvent(_Coded, frozen=True, tag="started"):
    """A run began."""

    run_id: RunId


class RunCompletedEvent(_Coded, frozen=True, tag="completed"):
    """A run ended well."""

    run_id: RunId


class RunFailedEvent(_Coded, frozen=True, tag="failed"):
    """A run failed."""

    run_id: RunId
    error: str
    recoverable: bool


class RunCancelledEvent(_Coded, frozen=True, tag="cancelled"):
    """A run was cancelled."""

    run_id: RunId


RunLifecycle = RunStartedEvent | RunCompletedEvent | RunFailedEvent | RunCancelledEvent

# --- the runtime and the topology ----------------------------------------------------------------


class StateChanged(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The runtime moved from one state to another."""

    from_: RuntimeState
    to: RuntimeState


class RuntimeCreated(_Coded, frozen=True, tag="runtime_created"):
    """A runtime was registered."""

    runtime_id: RuntimeIdText


class RuntimeRetired(_Coded, frozen=True, tag="runtime_retired"):
    """A runtime takes no more input."""

    runtime_id: RuntimeIdText


class RuntimeRecycled(_Coded, frozen=True, tag="runtime_recycled"):
    """A runtime's driver was rebuilt from the store."""

    runtime_id: RuntimeIdText


class RuntimeDestroyed(_Coded, frozen=True, tag="runtime_destroyed"):
    """A runtime ended for good."""

    runtime_id: RuntimeIdText


Topology = RuntimeCreated | RuntimeRetired | RuntimeRecycled | RuntimeDestroyed


# --- the envelope --------------------------------------------------------------------------------


class _Category(msgspec.Struct, frozen=True, tag_field="category"):
    pass


class InputLifecycleEvent(_Category, frozen=True, tag="input_lifecycle"):
    """Something happened to an input."""

    data: InputLifecycle


class RunLifecycleEvent(_Category, frozen=True, tag="run_lifecycle"):
    """Something happened to a run."""

    data: RunLifecycle


class RuntimeStateChange(_Category, frozen=True, tag="runtime_state_change"):
    """Something happened to the runtime."""

    data: StateChanged


class TopologyEvent(_Category, frozen=True, tag="topology"):
    """A runtime came, changed its standing, or went."""

    data: Topology


RuntimeEvent = InputLifecycleEvent | RunLifecycleEvent | RuntimeStateChange | TopologyEvent


class RuntimeEventEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is published to ``meerkat.events``."""

    id: EventId
    timestamp: Timestamp
    runtime_id: RuntimeIdText
    event: RuntimeEvent
    causation_id: str | None = None
    correlation_id: str | None = None


_PREFIX = {InputLifecycleEvent: "input", RunLifecycleEvent: "run", TopologyEvent: "topology"}


def event_code(event: RuntimeEvent) -> str:
    """Name an event: the first part of its routing key (``input.accepted``, ``run.failed``)."""
    if isinstance(event, RuntimeStateChange):
        return "runtime.state_changed"
    return f"{_PREFIX[type(event)]}.{event.data.__struct_config__.tag}"
