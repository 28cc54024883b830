"""The policy table and the rules of durability, copied from the specification by hand."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from schemas.inputs import (
    Continuation,
    Durability,
    ExternalEvent,
    ExternalSource,
    HandlingMode,
    Input,
    InputKind,
    OperatorSource,
    Peer,
    PeerRequest,
    PeerSource,
    handling_hint,
    kind_of,
)
from schemas.policy import PolicyDecision

Decision = dict[str, object]
"""A policy decision by its fields."""


@dataclass(frozen=True)
class Table:
    """A version of the table, and the queue modes that it gives to kinds."""

    version: int = 1
    queue_modes: dict[InputKind, str] = field(default_factory=dict)


OVERRIDES = {
    InputKind.EXTERNAL_EVENT: "supersede",
    InputKind.FLOW_STEP: "coalesce",
    InputKind.PEER_MESSAGE: "priority",
    InputKind.CONTINUATION: "priority",
}


def policy_file(version: int, queue_modes: dict[InputKind, str]) -> str:
    """Write overrides as a deployment would."""
    rows = [f'[kind.{kind}]\nqueue_mode = "{mode}"' for kind, mode in queue_modes.items()]
    return "\n".join([f"version = {version}", *rows])


_COLUMNS = (
    "apply_mode", "wake_idle", "wake_busy", "queue_mode", "consume_point", "interrupt_idle",
    "interrupt_busy", "drain_policy", "routing_disposition", "transcript",
)  # fmt: skip
_IY = "interrupt_yielding"
_PLAIN = (
    "stage_run_start wake_if_idle none fifo on_run_complete none none queue_next_turn queue yes"
)
_PEER = (
    f"stage_run_start wake_if_idle {_IY} fifo on_run_complete none {_IY} queue_next_turn queue yes"
)
_STEER = (
    f"stage_run_boundary wake_if_idle {_IY} fifo on_run_complete {_IY} {_IY} steer_batch steer yes"
)
_ROWS = {
    HandlingMode.QUEUE: _PLAIN,
    HandlingMode.STEER: _STEER,
    InputKind.PROMPT: _PLAIN,
    InputKind.FLOW_STEP: _PLAIN,
    InputKind.EXTERNAL_EVENT: _PLAIN,
    InputKind.PEER_RESPONSE_TERMINAL: _PLAIN,
    InputKind.PEER_MESSAGE: _PEER,
    InputKind.PEER_REQUEST: _PEER,
    InputKind.PEER_RESPONSE_PROGRESS: (
        "stage_run_boundary none none coalesce on_run_complete none none steer_batch steer yes"
    ),
    InputKind.CONTINUATION: _STEER,
    InputKind.OPERATION: "ignore none none priority on_accept none none ignore drop no",
}


def decide(item: Input, *, idle: bool, intents: Collection[str], table: Table) -> Decision:
    """Decide by the hint first, else by the kind; then the overrides."""
    kind = kind_of(item)
    decider = _decider(item, table)
    row: Decision = dict(zip(_COLUMNS, _ROWS[decider].split(), strict=True))
    shown = row.pop("transcript") == "yes" and kind is not InputKind.CONTINUATION
    for column in ("wake", "interrupt"):
        by_idle = {True: row.pop(f"{column}_idle"), False: row.pop(f"{column}_busy")}
        row["wake_mode" if column == "wake" else "interrupt_policy"] = by_idle[idle]
    row |= {"record_transcript": shown, "emit_operator_content": shown}
    row |= {"policy_version": table.version}
    if decider is kind:
        row["queue_mode"] = table.queue_modes.get(kind, row["queue_mode"])
    if _intent(item) in intents:
        row |= {"apply_mode": "stage_run_start", "wake_mode": "none"}
    return row


def _decider(item: Input, table: Table) -> HandlingMode | InputKind:
    """Name the row: the hint's, else the kind's.

    Where ``queue`` is what a publisher need not say, it is no hint once the deployment has a row of
    its own for the kind: such a row could never apply.
    """
    kind, hint = kind_of(item), handling_hint(item)
    unsaid = hint is HandlingMode.QUEUE and isinstance(item, ExternalEvent | Continuation)
    return kind if hint is None or (unsaid and kind in table.queue_modes) else hint


def _intent(item: Input) -> str | None:
    if isinstance(item, Peer) and isinstance(item.convention, PeerRequest):
        return item.convention.intent
    return None


def decided(policy: PolicyDecision) -> Decision:
    """Take a decision apart, to be compared with what ``decide`` says."""
    return {name: getattr(policy, name) for name in policy.__struct_fields__}


def breaks_durability(item: Input) -> bool:
    """Tell whether an input claims to be derived that may not be."""
    if item.header.durability is not Durability.DERIVED:
        return False
    if isinstance(item.header.source, OperatorSource | PeerSource | ExternalSource):
        return True
    return kind_of(item) in {
        InputKind.PROMPT,
        InputKind.FLOW_STEP,
        InputKind.PEER_MESSAGE,
        InputKind.PEER_REQUEST,
        InputKind.PEER_RESPONSE_TERMINAL,
    }
