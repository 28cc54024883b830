"""The envelope: from the bytes and properties of a delivery to a message, or to what is wrong."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from schemas.commands import Command, CommandReport
from schemas.errors import MalformedError
from schemas.events import RuntimeEventEnvelope
from schemas.ids import EventId, RunId, RuntimeId, RuntimeIdText, runtime_id
from schemas.inputs import Input, WireInput, canonical
from schemas.outcomes import Completion
from schemas.runs import RunEvent, RunRequest, SignalKind

SCHEMA_VERSION: Final = 1
MAX_DEPTH: Final = 32
DEFAULT_MAX_BYTES: Final = 1024 * 1024


class MessageType(enum.StrEnum):
    """The ``type`` property of every message."""

    INPUT = "input"
    RUN_EVENT = "run_event"
    COMMAND = "command"
    RUN_REQUEST = "run_request"
    SIGNAL = "signal"
    RUNTIME_EVENT = "runtime_event"
    COMPLETION = "completion"
    REGISTRATION = "registration"


class Signal(msgspec.Struct, frozen=True):
    """A message to the executor that holds a run."""

    signal: SignalKind
    runtime_id: RuntimeIdText
    run_id: RunId


class Registration(msgspec.Struct, frozen=True):
    """A publisher's notice that a runtime exists."""

    runtime_id: RuntimeIdText


class Envelope(msgspec.Struct, frozen=True):
    """A message as the broker delivers it. ``routing_key`` names the runtime on the inbox."""

    routing_key: str
    body: bytes
    message_id: str | None = None
    type: str | None = None
    content_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    headers: Mapping[str, Any] = {}


class InputMessage(msgspec.Struct, frozen=True):
    """An input for a runtime."""

    runtime_id: RuntimeId
    input: Input


class RunEventMessage(msgspec.Struct, frozen=True):
    """A run event for a runtime."""

    runtime_id: RuntimeId
    event_id: EventId
    event: RunEvent


class CommandMessage(msgspec.Struct, frozen=True):
    """A command for a runtime."""

    runtime_id: RuntimeId
    command: Command


Message = InputMessage | RunEventMessage | CommandMessage

_T = TypeVar("_T")

_inputs: Final = msgspec.json.Decoder(WireInput)
_run_events: Final = msgspec.json.Decoder(RunEvent)
_commands: Final = msgspec.json.Decoder(Command)
_registrations: Final = msgspec.json.Decoder(Registration)
_signals: Final = msgspec.json.Decoder(Signal)
_run_requests: Final = msgspec.json.Decoder(RunRequest)
_completions: Final = msgspec.json.Decoder(Completion)
_command_reports: Final = msgspec.json.Decoder(CommandReport)
_runtime_events: Final = msgspec.json.Decoder(RuntimeEventEnvelope)


def decode(
    envelope: Envelope, *, received_at: datetime, max_bytes: int = DEFAULT_MAX_BYTES
) -> Message:
    """Turn a delivery on an inbox into a message.

    Args:
        envelope: The delivery.
        received_at: Fills an input's timestamp where the publisher left it out.
        max_bytes: The largest body that is taken.

    Raises:
        MalformedError: With the path of the field that is wrong.
    """
    runtime = _runtime_id(envelope)
    message_id = _message_id(envelope)
    _check_frame(envelope, max_bytes)
    match envelope.type:
        case MessageType.INPUT:
            item = _canonical(_decoded(_inputs, envelope.body), received_at)
            _check_same_id(message_id, item.header.id, "$.header.id")
            return InputMessage(runtime, item)
        case MessageType.RUN_EVENT:
            return RunEventMessage(runtime, message_id, _decoded(_run_events, envelope.body))
        case MessageType.COMMAND:
            command = _decoded(_commands, envelope.body)
            _check_same_id(message_id, command.command_id, "$.command_id")
            return CommandMessage(runtime, command)
        case _:
            raise MalformedError("properties.type", "expected input, run_event or command")


def decode_registration(envelope: Envelope, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Registration:
    """Turn a delivery on the registrations queue into a registration, or raise MalformedError."""
    return _bounded(_registrations, envelope, max_bytes)


def decode_run_request(envelope: Envelope) -> RunRequest:
    """Turn a delivery on a pool into a run request, or raise MalformedError."""
    return _decoded(_run_requests, envelope.body)


def decode_signal(envelope: Envelope) -> Signal:
    """Turn a delivery of the signals exchange into a signal, or raise MalformedError."""
    return _decoded(_signals, envelope.body)


def decode_completion(envelope: Envelope) -> Completion:
    """Turn a reply into a completion, or raise MalformedError."""
    return _decoded(_completions, envelope.body)


def decode_command_report(envelope: Envelope) -> CommandReport:
    """Turn a reply into a command's report, or raise MalformedError."""
    return _decoded(_command_reports, envelope.body)


def decode_runtime_event(envelope: Envelope) -> RuntimeEventEnvelope:
    """Turn a delivery of the events exchange into a runtime event, or raise MalformedError."""
    return _decoded(_runtime_events, envelope.body)


def decode_stored_input(payload: bytes) -> Input:
    """Decode an input that was stored: canonical, its timestamp filled in."""
    item = _decoded(_inputs, payload)
    return _canonical(item, item.header.timestamp or _EPOCH)


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _bounded(decoder: msgspec.json.Decoder[_T], envelope: Envelope, max_bytes: int) -> _T:
    _check_frame(envelope, max_bytes)
    return _decoded(decoder, envelope.body)


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError.from_decoder(error) from error


def _canonical(item: WireInput, received_at: datetime) -> Input:
    try:
        return canonical(item, received_at=received_at)
    except msgspec.ValidationError as error:
        fault = MalformedError.from_decoder(error)
        raise MalformedError(
            fault.path.replace("$", "$.payload.blocks", 1), fault.problem
        ) from error


def _runtime_id(envelope: Envelope) -> RuntimeId:
    try:
        return runtime_id(envelope.routing_key)
    except ValueError as error:
        raise MalformedError("routing_key", str(error)) from error


def _message_id(envelope: Envelope) -> UUID:
    if envelope.message_id is None:
        raise MalformedError("properties.message_id", "expected uuid, got nothing")
    try:
        return msgspec.convert(envelope.message_id, UUID)
    except msgspec.ValidationError as error:
        raise MalformedError("properties.message_id", "expected uuid") from error


def _check_same_id(message_id: UUID, body_id: UUID, path: str) -> None:
    if message_id != body_id:
        raise MalformedError(path, "expected the id in properties.message_id")


def _check_frame(envelope: Envelope, max_bytes: int) -> None:
    """Check what is cheap before the body is read."""
    size = len(envelope.body)
    if size > max_bytes:
        raise MalformedError("$", f"expected at most {max_bytes} bytes, got {size}")
    if not _is_json(envelope.content_type):
        raise MalformedError("properties.content_type", "expected application/json")
    if envelope.headers.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise MalformedError("properties.headers.schema", f"expected {SCHEMA_VERSION}")
    try:
        envelope.body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError.from_decoder(error) from error
    if _depth_exceeds(envelope.body, MAX_DEPTH):
        raise MalformedError("$", f"expected at most {MAX_DEPTH} levels of nesting")


def _is_json(content_type: str | None) -> bool:
    """Tell whether a content type is JSON's, or left out; parameters do not count."""
    if content_type is None or content_type == "application/json":
        return True
    return content_type.partition(";")[0].strip().lower() == "application/json"


# Possessive, and a string that never ends is a match too: no body costs more than its length.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS: Final = dict(zip(b"[{]}", (1, 1, -1, -1), strict=True))
_NO_BRACKETS: Final = bytes(set(range(256)) - _STEPS.keys())


def _depth_exceeds(body: bytes, limit: int) -> bool:
    """Tell whether JSON nests deeper than the limit; counting openings settles most bodies."""
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    brackets = _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit
