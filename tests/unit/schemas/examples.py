"""Good and bad bodies of every message: what decodes, what does not, and the path of the fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas import envelope
from schemas.content import blob_id
from schemas.envelope import Envelope, MessageType

ID: Final = "0190b6b0-0000-7000-8000-000000000001"
OTHER: Final = "0190b6b0-0000-7000-8000-000000000002"
RUN: Final = "0190b6b0-0000-7000-8000-000000000003"
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PNG: Final = "iVBORw0KGgo="
BLOB: Final = blob_id("image/png", PNG)
COMMAND_REPORT: Final = "command_report"

Body = dict[str, Any]

HEADER: Final[Body] = {"id": ID, "source": {"type": "operator"}}
FULL_HEADER: Final[Body] = {
    "id": ID,
    "timestamp": "2026-01-02T03:04:05.678+01:00",
    "source": {"type": "peer", "peer_id": "planner", "runtime_id": "planner-1"},
    "durability": "ephemeral",
    "visibility": {"transcript_eligible": False, "operator_eligible": True},
    "idempotency_key": "order 7/ä",
    "supersession_key": "latest",
    "correlation_id": "c-1",
}
TEXT: Final[Body] = {"type": "text", "text": "see:"}
INLINE: Final[Body] = {
    "type": "image",
    "media_type": "image/png",
    "source": "inline",
    "data": PNG,
}
REFERENCE: Final[Body] = {
    "type": "image",
    "media_type": "image/svg+xml",
    "source": "blob",
    "blob_id": BLOB,
}
METADATA: Final[Body] = {
    "handling_mode": "steer",
    "keep_alive": True,
    "skill_references": [{"source_uuid": "u", "skill_name": "s"}],
    "flow_tool_overlay": {"allowed_tools": ["a"], "blocked_tools": []},
    "additional_instructions": ["be brief"],
    "model": "m",
    "provider": "p",
    "provider_params": {"temperature": 0.5, "nested": [None, 1]},
    "render_metadata": {"class": "notice", "salience": "low"},
}
RECEIPT: Final[Body] = {
    "run_id": RUN,
    "boundary": "run_start",
    "contributing_input_ids": [ID, OTHER],
    "conversation_digest": "0" * 64,
    "message_count": 3,
    "sequence": 0,
}


def without(body: Body, name: str) -> Body:
    return {key: value for key, value in body.items() if key != name}


def prompt(**fields: object) -> Body:
    return {"input_type": "prompt", "header": HEADER, "text": "hi"} | fields


def peer(**fields: object) -> Body:
    return {"input_type": "peer", "header": HEADER, "body": "hi"} | fields


def flow_step(**fields: object) -> Body:
    step = {"input_type": "flow_step", "header": HEADER, "step_id": "1", "instructions": "do"}
    return step | fields


def external_event(**fields: object) -> Body:
    event = {"input_type": "external_event", "header": HEADER, "event_type": "e", "payload": {}}
    return event | fields


def continuation(**fields: object) -> Body:
    return {"input_type": "continuation", "header": HEADER, "reason": "more"} | fields


def operation(**event: object) -> Body:
    return {"input_type": "operation", "header": HEADER, "operation_id": "o", "event": event}


def header(**fields: object) -> Body:
    return prompt(header=HEADER | fields)


def run_event(kind: str, **fields: object) -> Body:
    return {"event_type": kind, "run_id": RUN} | fields


def boundary(**fields: object) -> Body:
    return run_event("boundary_applied", receipt=RECEIPT | fields)


def command(kind: str, **fields: object) -> Body:
    return {"command": kind, "command_id": ID} | fields


def run_request(**fields: object) -> Body:
    primitive = {
        "primitive_type": "staged_input",
        "boundary": "run_start",
        "appends": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [TEXT, REFERENCE]},
        ],
        "contributing_input_ids": [ID, OTHER],
        "turn_metadata": METADATA,
    }
    request: Body = {
        "run_id": RUN,
        "runtime_id": "agent-7",
        "epoch": 3,
        "attempt": 1,
        "primitive": primitive,
        "lease_seconds": 60,
    }
    return request | fields


def completion(kind: str, **fields: object) -> Body:
    return {"input_id": ID, "outcome": {"outcome_type": kind} | fields}


def runtime_event(category: str, **data: object) -> Body:
    return {
        "id": ID,
        "timestamp": "2026-01-02T03:04:05Z",
        "runtime_id": "agent-7",
        "event": {"category": category, "data": data},
    }


GOOD: Final[dict[str, list[Body]]] = {
    MessageType.INPUT: [
        prompt(),
        prompt(text="", header=FULL_HEADER, blocks=[TEXT, INLINE, REFERENCE]),
        prompt(turn_metadata=METADATA),
        prompt(turn_metadata={}, blocks=[]),
        prompt(blocks=None, turn_metadata=None),
        prompt(unknown={"kept": [1, 2]}, header=HEADER | {"unknown": 1}),
        prompt(blocks=[INLINE | {"data": ""}]),
        prompt(blocks=[REFERENCE | {"data": None}]),
        prompt(text="\u0000 and \U0001f600"),
        header(source={"type": "flow", "flow_id": "f", "step_index": 2}),
        header(source={"type": "system"}),
        header(source={"type": "external", "source_name": "mail"}),
        header(source={"type": "peer", "peer_id": "p"}),
        header(durability="derived", source={"type": "system"}),
        header(visibility={}),
        header(idempotency_key="k" * 255),
        header(id=ID.upper()),
        peer(),
        peer(convention={"convention_type": "message"}, blocks=[TEXT]),
        peer(convention={"convention_type": "request", "request_id": "r", "intent": "ask"}),
        peer(
            convention={
                "convention_type": "response_progress",
                "request_id": "r",
                "phase": "partial_result",
            }
        ),
        peer(
            convention={
                "convention_type": "response_terminal",
                "request_id": "r",
                "status": "cancelled",
            }
        ),
        flow_step(),
        flow_step(blocks=[INLINE], turn_metadata=METADATA),
        external_event(),
        external_event(payload=None),
        external_event(payload=[1, "two", {"three": 3.5}]),
        external_event(handling_mode="steer", blocks=[TEXT], render_metadata={"class": "c"}),
        external_event(payload={"body": "b", "blocks": [TEXT, INLINE]}),
        continuation(),
        continuation(handling_mode="steer", request_id="r"),
        continuation(input_type="system_generated"),
        operation(type="started", id="1", kind="build", later="kept"),
        operation(type="progress", id="1", message="half", percent=50.5),
        operation(type="progress", id="1", message="half", percent=None),
        operation(type="completed", id="1", result={"ok": True}),
        operation(type="failed", id="1", error="no"),
        operation(type="cancelled", id="1") | {"input_type": "projected"},
    ],
    MessageType.RUN_EVENT: [
        run_event("run_started"),
        run_event("run_heartbeat"),
        boundary(),
        run_event("boundary_applied", receipt=RECEIPT, session_snapshot=PNG),
        run_event("boundary_applied", receipt=RECEIPT, session_snapshot={"blob_id": BLOB}),
        boundary(conversation_digest=None, boundary="immediate", contributing_input_ids=[]),
        run_event("run_completed", consumed_input_ids=[ID]),
        run_event("run_completed", consumed_input_ids=[], result={"any": ["thing", None]}),
        run_event("run_failed", error="no", recoverable=True),
        run_event("run_failed", error="late", recoverable=True, lease_until="2026-01-02T03:04:05Z"),
        run_event("run_cancelled"),
    ],
    MessageType.COMMAND: [
        *(
            command(kind)
            for kind in (
                "stop",
                "resume",
                "retire",
                "reset",
                "recycle",
                "destroy",
                "recover",
                "attach",
                "detach",
                "cancel_run",
                "wake",
            )
        ),
        command("cancel_run", run_id=RUN),
        command("cancel_input", input_id=OTHER),
        command("abandon_pending", reason="retired"),
        command("set_silent_intents", intents=["status", "ping"]),
    ],
    MessageType.RUN_REQUEST: [
        run_request(),
        run_request(lease_seconds=0.5, session_snapshot={"blob_id": BLOB}),
        run_request(session_snapshot=PNG),
    ],
    MessageType.COMPLETION: [
        completion("completed"),
        completion("completed", result=[1]),
        completion("superseded", by=OTHER),
        completion("coalesced", into=OTHER),
        completion("abandoned", reason="attempts_exhausted"),
        completion("deduplicated", existing_id=OTHER),
        completion("deduplicated", existing_id=OTHER, outcome={"outcome_type": "consumed"}),
        completion(
            "deduplicated",
            existing_id=OTHER,
            outcome={"outcome_type": "abandoned", "reason": "reset"},
        ),
        completion("rejected", reason="derived inputs come from the runtime itself"),
        completion("not_ready", state="stopped"),
        completion("conflict"),
    ],
    MessageType.RUNTIME_EVENT: [
        runtime_event("input_lifecycle", code="accepted", input_id=ID),
        runtime_event("input_lifecycle", code="deduplicated", input_id=ID, existing_id=OTHER),
        runtime_event("input_lifecycle", code="superseded", input_id=ID, superseded_by=OTHER),
        runtime_event("input_lifecycle", code="coalesced", input_id=ID, aggregate_id=OTHER),
        runtime_event("input_lifecycle", code="queued", input_id=ID),
        runtime_event("input_lifecycle", code="staged", input_id=ID, run_id=RUN),
        runtime_event("input_lifecycle", code="applied", input_id=ID, run_id=RUN),
        runtime_event("input_lifecycle", code="consumed", input_id=ID),
        runtime_event("input_lifecycle", code="abandoned", input_id=ID, reason="cancelled"),
        runtime_event("run_lifecycle", code="started", run_id=RUN),
        runtime_event("run_lifecycle", code="completed", run_id=RUN),
        runtime_event("run_lifecycle", code="failed", run_id=RUN, error="e", recoverable=False),
        runtime_event("run_lifecycle", code="cancelled", run_id=RUN),
        runtime_event("runtime_state_change", **{"from": "idle", "to": "running"}),
        runtime_event("topology", code="runtime_created", runtime_id="agent-7"),
        runtime_event("topology", code="runtime_retired", runtime_id="agent-7")
        | {"causation_id": "c", "correlation_id": "d"},
        runtime_event("topology", code="runtime_recycled", runtime_id="agent-7"),
        runtime_event("topology", code="runtime_destroyed", runtime_id="agent-7"),
    ],
    MessageType.REGISTRATION: [{"runtime_id": "a"}, {"runtime_id": "Agent_7.x:y-z", "extra": 1}],
    MessageType.SIGNAL: [
        {"signal": "cancel_run", "runtime_id": "agent-7", "run_id": RUN},
        {"signal": "interrupt", "runtime_id": "agent-7", "run_id": RUN},
    ],
    COMMAND_REPORT: [
        {"command_id": ID, "outcome": {"kind": "report", "counts": {"abandoned": 2}}},
        {"command_id": ID, "outcome": {}},
    ],
}

BAD: Final[list[tuple[str, Any, str]]] = [
    # What every type may suffer
    *((kind, [], "$") for kind in GOOD),
    *((kind, None, "$") for kind in GOOD),
    *((kind, "text", "$") for kind in GOOD),
    # inputs
    (MessageType.INPUT, without(prompt(), "input_type"), "$.input_type"),
    (MessageType.INPUT, prompt(input_type="wish"), "$.input_type"),
    (MessageType.INPUT, prompt(input_type=1), "$.input_type"),
    (MessageType.INPUT, without(prompt(), "header"), "$.header"),
    (MessageType.INPUT, without(prompt(), "text"), "$.text"),
    (MessageType.INPUT, prompt(text=1), "$.text"),
    (MessageType.INPUT, prompt(text=None), "$.text"),
    (MessageType.INPUT, prompt(header=without(HEADER, "id")), "$.header.id"),
    (MessageType.INPUT, prompt(header=without(HEADER, "source")), "$.header.source"),
    (MessageType.INPUT, header(id="1"), "$.header.id"),
    (MessageType.INPUT, header(id=None), "$.header.id"),
    (MessageType.INPUT, header(source={"type": "nobody"}), "$.header.source.type"),
    (MessageType.INPUT, header(source={"type": "peer"}), "$.header.source.peer_id"),
    (
        MessageType.INPUT,
        header(source={"type": "peer", "peer_id": "p", "runtime_id": "no id"}),
        "$.header.source.runtime_id",
    ),
    (
        MessageType.INPUT,
        header(source={"type": "flow", "flow_id": "f", "step_index": "1"}),
        "$.header.source.step_index",
    ),
    (MessageType.INPUT, header(timestamp="2026-01-02T03:04:05"), "$.header.timestamp"),
    (MessageType.INPUT, header(timestamp="2026-13-02T03:04:05Z"), "$.header.timestamp"),
    (MessageType.INPUT, header(timestamp="yesterday"), "$.header.timestamp"),
    (MessageType.INPUT, header(timestamp=1767322800), "$.header.timestamp"),
    (MessageType.INPUT, header(durability="forever"), "$.header.durability"),
    (MessageType.INPUT, header(visibility=True), "$.header.visibility"),
    (
        MessageType.INPUT,
        header(visibility={"operator_eligible": "yes"}),
        "$.header.visibility.operator_eligible",
    ),
    (MessageType.INPUT, header(idempotency_key=""), "$.header.idempotency_key"),
    (MessageType.INPUT, header(idempotency_key="k" * 256), "$.header.idempotency_key"),
    (MessageType.INPUT, header(idempotency_key="a\u0000b"), "$.header.idempotency_key"),
    (MessageType.INPUT, header(supersession_key="a\tb"), "$.header.supersession_key"),
    (MessageType.INPUT, prompt(blocks={}), "$.blocks"),
    (MessageType.INPUT, prompt(blocks=[TEXT, {"type": "video"}]), "$.blocks[1].type"),
    (MessageType.INPUT, prompt(blocks=[without(TEXT, "text")]), "$.blocks[0].text"),
    (MessageType.INPUT, prompt(blocks=[INLINE | {"data": "not base64!"}]), "$.blocks[0]"),
    (MessageType.INPUT, prompt(blocks=[without(INLINE, "data")]), "$.blocks[0]"),
    (MessageType.INPUT, prompt(blocks=[INLINE | {"blob_id": BLOB}]), "$.blocks[0]"),
    (MessageType.INPUT, prompt(blocks=[REFERENCE | {"data": PNG}]), "$.blocks[0]"),
    (MessageType.INPUT, prompt(blocks=[without(REFERENCE, "blob_id")]), "$.blocks[0]"),
    (
        MessageType.INPUT,
        prompt(blocks=[REFERENCE | {"blob_id": "../../etc/passwd"}]),
        "$.blocks[0].blob_id",
    ),
    (MessageType.INPUT, prompt(blocks=[INLINE | {"source": "web"}]), "$.blocks[0].source"),
    (MessageType.INPUT, prompt(blocks=[INLINE | {"media_type": "png"}]), "$.blocks[0].media_type"),
    (
        MessageType.INPUT,
        prompt(blocks=[INLINE | {"media_type": "image/png\r\nX: y"}]),
        "$.blocks[0].media_type",
    ),
    (
        MessageType.INPUT,
        prompt(blocks=[INLINE | {"media_type": "image/" + "x" * 122}]),
        "$.blocks[0].media_type",
    ),
    (
        MessageType.INPUT,
        prompt(turn_metadata={"handling_mode": "rush"}),
        "$.turn_metadata.handling_mode",
    ),
    (
        MessageType.INPUT,
        prompt(turn_metadata={"skill_references": [{"skill_name": "s"}]}),
        "$.turn_metadata.skill_references[0].source_uuid",
    ),
    (
        MessageType.INPUT,
        prompt(turn_metadata={"render_metadata": {}}),
        "$.turn_metadata.render_metadata.class",
    ),
    (MessageType.INPUT, without(peer(), "body"), "$.body"),
    (
        MessageType.INPUT,
        peer(convention={"convention_type": "shout"}),
        "$.convention.convention_type",
    ),
    (
        MessageType.INPUT,
        peer(convention={"convention_type": "request", "request_id": "r"}),
        "$.convention.intent",
    ),
    (
        MessageType.INPUT,
        peer(
            convention={
                "convention_type": "response_terminal",
                "request_id": "r",
                "status": "accepted",
            }
        ),
        "$.convention.status",
    ),
    (MessageType.INPUT, without(flow_step(), "step_id"), "$.step_id"),
    (MessageType.INPUT, without(external_event(), "payload"), "$.payload"),
    (MessageType.INPUT, external_event(handling_mode=None), "$.handling_mode"),
    (MessageType.INPUT, without(continuation(), "reason"), "$.reason"),
    (MessageType.INPUT, operation(type="paused", id="1"), "$.event.type"),
    (MessageType.INPUT, operation(type="completed", id="1"), "$.event.result"),
    (
        MessageType.INPUT,
        operation(type="progress", id="1", message="", percent="50"),
        "$.event.percent",
    ),
    # run events
    (MessageType.RUN_EVENT, run_event("run_paused"), "$.event_type"),
    (MessageType.RUN_EVENT, {"event_type": "run_started"}, "$.run_id"),
    (MessageType.RUN_EVENT, run_event("run_started", run_id="1"), "$.run_id"),
    (MessageType.RUN_EVENT, run_event("boundary_applied"), "$.receipt"),
    (MessageType.RUN_EVENT, boundary(sequence=-1), "$.receipt.sequence"),
    (MessageType.RUN_EVENT, boundary(sequence=2**31), "$.receipt.sequence"),
    (MessageType.RUN_EVENT, boundary(message_count="3"), "$.receipt.message_count"),
    (MessageType.RUN_EVENT, boundary(boundary="run_end"), "$.receipt.boundary"),
    (MessageType.RUN_EVENT, boundary(conversation_digest="0"), "$.receipt.conversation_digest"),
    (
        MessageType.RUN_EVENT,
        boundary(contributing_input_ids=[ID, "x"]),
        "$.receipt.contributing_input_ids[1]",
    ),
    (
        MessageType.RUN_EVENT,
        run_event("boundary_applied", receipt=RECEIPT, session_snapshot={"blob_id": "x"}),
        "$.session_snapshot.blob_id",
    ),
    (MessageType.RUN_EVENT, run_event("run_completed"), "$.consumed_input_ids"),
    (MessageType.RUN_EVENT, run_event("run_failed", error="e"), "$.recoverable"),
    (MessageType.RUN_EVENT, run_event("run_failed", error="e", recoverable=1), "$.recoverable"),
    # commands
    (MessageType.COMMAND, command("explode"), "$.command"),
    (MessageType.COMMAND, {"command": "stop"}, "$.command_id"),
    (MessageType.COMMAND, command("cancel_input"), "$.input_id"),
    (MessageType.COMMAND, command("abandon_pending", reason="bored"), "$.reason"),
    (MessageType.COMMAND, command("set_silent_intents", intents="status"), "$.intents"),
    (MessageType.COMMAND, command("set_silent_intents", intents=[1]), "$.intents[0]"),
    # what workers and executors send
    (MessageType.RUN_REQUEST, run_request(epoch="3"), "$.epoch"),
    (MessageType.RUN_REQUEST, run_request(runtime_id="-"), "$.runtime_id"),
    (MessageType.RUN_REQUEST, run_request(primitive={}), "$.primitive.boundary"),
    (MessageType.COMPLETION, completion("forgotten"), "$.outcome.outcome_type"),
    (MessageType.COMPLETION, completion("superseded"), "$.outcome.by"),
    (MessageType.COMPLETION, completion("not_ready", state="asleep"), "$.outcome.state"),
    (MessageType.RUNTIME_EVENT, runtime_event("weather", code="fog"), "$.event.category"),
    (
        MessageType.RUNTIME_EVENT,
        runtime_event("run_lifecycle", code="paused", run_id=RUN),
        "$.event.data.code",
    ),
    (
        MessageType.RUNTIME_EVENT,
        runtime_event("runtime_state_change", to="idle"),
        "$.event.data.from",
    ),
    (MessageType.REGISTRATION, {}, "$.runtime_id"),
    *(
        (MessageType.REGISTRATION, {"runtime_id": name}, "$.runtime_id")
        for name in ("", "-a", "a b", "a/b", "ä", "a" * 129, 7, None)
    ),
    (
        MessageType.SIGNAL,
        {"signal": "wink", "runtime_id": "agent-7", "run_id": RUN},
        "$.signal",
    ),
    (COMMAND_REPORT, {"command_id": ID, "outcome": []}, "$.outcome"),
    (COMMAND_REPORT, {"outcome": {}}, "$.command_id"),
]


@dataclass(frozen=True, slots=True)
class Example:
    kind: str
    body: Any
    path: str = ""

    def __str__(self) -> str:
        """Name the test case."""
        return f"{self.kind}-{self.path or json.dumps(self.body)[:60]}"


def good() -> list[Example]:
    return [Example(kind, body) for kind, bodies in GOOD.items() for body in bodies]


def bad() -> list[Example]:
    return [Example(*entry) for entry in BAD]


def _inbox(received: Envelope) -> object:
    match envelope.decode(received, received_at=NOW):
        case envelope.InputMessage(_, item):
            return item
        case envelope.RunEventMessage(_, _, event):
            return event
        case envelope.CommandMessage(_, order):
            return order


_DECODERS: Final[dict[str, Callable[[Envelope], object]]] = {
    MessageType.INPUT: _inbox,
    MessageType.RUN_EVENT: _inbox,
    MessageType.COMMAND: _inbox,
    MessageType.RUN_REQUEST: envelope.decode_run_request,
    MessageType.SIGNAL: envelope.decode_signal,
    MessageType.RUNTIME_EVENT: envelope.decode_runtime_event,
    MessageType.COMPLETION: envelope.decode_completion,
    MessageType.REGISTRATION: envelope.decode_registration,
    COMMAND_REPORT: envelope.decode_command_report,
}


def decoded(kind: str, body: object) -> object:
    """Decode a body as its type is decoded, under an envelope that is in order."""
    text = msgspec.json.encode(body)
    return _DECODERS[kind](Envelope("agent-7", text, message_id=ID, type=kind))
