"""Codec: from records to rows and back.

Rows are tuples in the order of their table's columns. JSON columns are text. Reading goes through
``msgspec.convert``, which checks everything it reads and names the field that is wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec

from schemas.dead_letters import DeadLetter, fingerprint
from schemas.errors import MalformedError
from schemas.ids import InputId, RuntimeId
from schemas.lifecycle import RuntimeState
from schemas.outcomes import TerminalOutcome
from schemas.policy import PolicyDecision
from schemas.records import (
    CommandRecord,
    HistoryEntry,
    InputRecord,
    KnownInput,
    OutboxMessage,
    ReceiptRecord,
    ReplyTo,
    RetryPlan,
    RunRecord,
    RuntimeRecord,
    SnapshotRecord,
    Timer,
)
from schemas.runs import Receipt
from store.ports import WorkerPresence

Row = tuple[Any, ...]
Values = Mapping[str, Any]
"""A row that was read, by the names of its columns."""

_T = TypeVar("_T")

_encoder: Final = msgspec.json.Encoder()
_outcomes: Final = msgspec.json.Decoder(TerminalOutcome)
_replies: Final = msgspec.json.Decoder(ReplyTo)
_histories: Final = msgspec.json.Decoder(tuple[HistoryEntry, ...])
_retries: Final = msgspec.json.Decoder(RetryPlan)
_texts: Final = msgspec.json.Decoder(tuple[str, ...])
_ids: Final = msgspec.json.Decoder(tuple[UUID, ...])
_objects: Final = msgspec.json.Decoder(dict[str, Any])
_policies: Final = msgspec.json.Decoder(PolicyDecision)


def json(value: object) -> str:
    """Write JSON text.

    Raises:
        TypeError: The value, or something in it, has no JSON.
    """
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return _encoder.encode(_scrubbed(msgspec.to_builtins(value))).decode()


def _scrubbed(value: object) -> object:
    """Take lone surrogates out of a value: UTF-8 has none."""
    match value:
        case str():
            return harmless(value)
        case dict():
            return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
        case list() | tuple():
            return [_scrubbed(item) for item in value]
        case _:
            return value


def harmless(text: str) -> str:
    """Make free text storable: PostgreSQL takes no NUL, and no database a lone surrogate."""
    if text.isprintable():
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


_BLOB_ID: Final = re.compile(rb"sha256:[0-9a-f]{64}")


def blobs_in(content: bytes) -> list[str]:
    """Name the blobs that JSON refers to, each once. Cheap where there are none."""
    if b'"sha256:' not in content:
        return []
    return sorted({found.decode() for found in _BLOB_ID.findall(content)})


def _optional(value: object) -> str | None:
    return None if value is None else json(value)


def _free(text: str | None) -> str | None:
    return None if text is None else harmless(text)


@lru_cache(maxsize=256)
def _policy_text(policy: PolicyDecision) -> str:
    """Write a policy decision; a deployment has a dozen of them, on millions of inputs."""
    return json(policy)


@lru_cache(maxsize=256)
def _policy(text: str) -> PolicyDecision:
    """Read a policy decision; inputs with equal ones share the object."""
    return _policies.decode(text)


class Codec:
    """Writes rows for one flavour of database.

    Args:
        uuid: Brings a UUID to what a column holds.
        moment: Brings a moment to what a column holds.
    """

    def __init__(
        self, uuid: Callable[[UUID], object], moment: Callable[[datetime], object]
    ) -> None:
        self.uuid = uuid
        self.moment = moment

    def maybe_uuid(self, value: UUID | None) -> object:
        """Write an optional UUID."""
        return None if value is None else self.uuid(value)

    def maybe_moment(self, value: datetime | None) -> object:
        """Write an optional moment."""
        return None if value is None else self.moment(value)

    def inserted(self, runtime_id: RuntimeId, record: InputRecord, payload: bytes | None) -> Row:
        """Write a new input: all columns of ``inputs``."""
        return (
            runtime_id,
            self.uuid(record.input_id),
            record.sequence,
            record.kind.value,
            record.durability.value,
            record.state.value,
            not record.state.is_terminal,
            None if record.lane is None else record.lane.value,
            record.payload_digest,
            _free(record.idempotency_key),
            _free(record.supersession_key),
            self.maybe_uuid(record.last_run_id),
            record.last_boundary_sequence,
            record.attempt_count,
            record.recovery_count,
            _free(record.traceparent),
            self.moment(record.created_at),
            self.moment(record.updated_at),
            None if record.policy is None else _policy_text(record.policy),
            _optional(record.outcome),
            _optional(record.reply),
            json(record.history),
            payload,
        )

    def updated(self, runtime_id: RuntimeId, record: InputRecord) -> Row:
        """Write what can change of an input: ``UPDATED_INPUT``, then its key."""
        return (
            record.sequence,
            record.state.value,
            not record.state.is_terminal,
            None if record.lane is None else record.lane.value,
            record.payload_digest,
            self.maybe_uuid(record.last_run_id),
            record.last_boundary_sequence,
            record.attempt_count,
            record.recovery_count,
            _free(record.traceparent),
            self.moment(record.updated_at),
            None if record.policy is None else _policy_text(record.policy),
            _optional(record.outcome),
            _optional(record.reply),
            json(record.history),
            runtime_id,
            self.uuid(record.input_id),
        )

    def replaced(self, runtime_id: RuntimeId, record: InputRecord, payload: bytes) -> Row:
        """Write what another payload changes of an input, then its key."""
        return (
            record.kind.value,
            record.durability.value,
            _free(record.idempotency_key),
            _free(record.supersession_key),
            payload,
            runtime_id,
            self.uuid(record.input_id),
        )

    def run(self, runtime_id: RuntimeId, record: RunRecord) -> Row:
        """Write a run: all columns of ``runs``."""
        return (
            runtime_id,
            self.uuid(record.run_id),
            record.state.value,
            record.boundary.value,
            json(record.batch),
            record.attempt,
            self.moment(record.requested_at),
            record.next_boundary,
            self.maybe_moment(record.lease_until),
            self.maybe_moment(record.started_at),
            self.maybe_moment(record.ended_at),
            _free(record.error),
            record.recoverable,
        )

    def runtime(self, record: RuntimeRecord) -> Row:
        """Write what a commit changes of a runtime: ``UPDATED_RUNTIME``, then its key.

        The epoch stays out: only an activation changes it.
        """
        resting = record.resting_state
        return (
            _stored_state(record.state),
            None if resting is None else _stored_state(resting),
            self.maybe_uuid(record.current_run_id),
            record.next_sequence,
            record.woken,
            json(record.silent_intents),
            _optional(record.retry),
            record.paused,
            self.moment(record.updated_at),
            record.runtime_id,
        )

    def receipt(self, runtime_id: RuntimeId, record: ReceiptRecord) -> Row:
        """Write a receipt: all columns of ``receipts``."""
        receipt = record.receipt
        return (
            runtime_id,
            self.uuid(receipt.run_id),
            receipt.sequence,
            receipt.boundary.value,
            json(receipt.contributing_input_ids),
            receipt.conversation_digest,
            receipt.message_count,
            record.epoch,
            self.moment(record.committed_at),
        )

    def snapshot(self, runtime_id: RuntimeId, record: SnapshotRecord) -> Row:
        """Write a snapshot: all columns of ``snapshots``."""
        return (
            runtime_id,
            self.uuid(record.run_id),
            record.sequence,
            record.blob_id,
            record.digest,
            record.data,
        )

    def command(self, runtime_id: RuntimeId, record: CommandRecord) -> Row:
        """Write a command: all columns of ``commands``."""
        return (
            runtime_id,
            self.uuid(record.command_id),
            record.command,
            json(record.outcome),
            self.moment(record.at),
        )

    def timer(self, runtime_id: RuntimeId, timer: Timer) -> Row:
        """Write a timer: all columns of ``timers``."""
        due = self.moment(timer.due_at)
        return (runtime_id, timer.kind.value, due, self.maybe_uuid(timer.run_id), due)

    def outgoing(self, message: OutboxMessage) -> Row:
        """Write an outbox row: its columns but the position, which the database counts."""
        return (
            self.uuid(message.id),
            message.runtime_id,
            harmless(message.exchange),
            harmless(message.routing_key),
            json(message.properties),
            self.moment(message.created_at),
            message.body,
        )

    def letter(self, letter: DeadLetter) -> dict[str, Any]:
        """Write a new dead letter, by the names of its columns."""
        at, detail = self.moment(letter.at), harmless(letter.detail)
        return {
            "id": self.uuid(letter.id),
            "runtime_id": _free(letter.runtime_id),
            "source_queue": harmless(letter.source_queue),
            "message_id": _free(letter.message_id),
            "type": _free(letter.type),
            "reason": letter.reason.value,
            "fingerprint": fingerprint(letter.reason, detail),
            "status": "open",
            "first_at": at,
            "last_at": at,
            "deaths": 1,
            "redrive_count": 0,
            "note": None,
            "who": None,
            "acted_at": None,
            "body_digest": hashlib.sha256(letter.body).hexdigest(),
            "body_size": len(letter.body),
            "detail": detail,
            "properties": json(letter.properties),
            "body": letter.body,
        }


def _stored_state(state: RuntimeState) -> str:
    """An executor that was bound in a process is not bound in the next one."""
    return (RuntimeState.IDLE if state is RuntimeState.ATTACHED else state).value


# --- reading -------------------------------------------------------------------------------------

READ_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError)


def fault(error: Exception) -> str:
    """Say what is wrong with a row that was read: the field and the shape, never the value."""
    match error:
        case msgspec.MsgspecError() | UnicodeDecodeError():
            return str(MalformedError.from_decoder(error))
        case _:
            return f"$: {type(error).__name__}"


def read_input(values: Values) -> InputRecord:
    """Read an input.

    Raises:
        msgspec.MsgspecError: A value is not what it should be; ``READ_ERRORS`` names all kinds.
    """
    policy, outcome, reply = values["policy"], values["outcome"], values["reply"]
    decoded = {
        "policy": None if policy is None else _at("policy", _policy, policy),
        "outcome": None if outcome is None else _at("outcome", _outcomes.decode, outcome),
        "reply": None if reply is None else _at("reply", _replies.decode, reply),
        "history": _at("history", _histories.decode, values["history"]),
    }
    return _converted({**values, **decoded}, InputRecord)


def read_run(values: Values) -> RunRecord:
    """Read a run, or raise one of ``READ_ERRORS``."""
    return _converted({**values, "batch": _at("batch", _ids.decode, values["batch"])}, RunRecord)


def read_runtime(values: Values) -> RuntimeRecord:
    """Read a runtime, or raise one of ``READ_ERRORS``."""
    retry = values["retry"]
    decoded = {
        "silent_intents": _at("silent_intents", _texts.decode, values["silent_intents"]),
        "retry": None if retry is None else _at("retry", _retries.decode, retry),
    }
    return _converted({**values, **decoded}, RuntimeRecord)


def read_receipt(values: Values) -> ReceiptRecord:
    """Read a receipt, or raise one of ``READ_ERRORS``."""
    ids = _at("contributing_input_ids", _ids.decode, values["contributing_input_ids"])
    receipt = _converted({**values, "contributing_input_ids": ids}, Receipt)
    return _converted({**values, "receipt": receipt}, ReceiptRecord)


def read_known(values: Values) -> KnownInput:
    """Read what dedupe needs of an input, or raise one of ``READ_ERRORS``."""
    outcome = values["outcome"]
    decoded = None if outcome is None else _at("outcome", _outcomes.decode, outcome)
    return _converted({**values, "outcome": decoded}, KnownInput)


def read_outgoing(values: Values) -> OutboxMessage:
    """Read an outbox row, or raise one of ``READ_ERRORS``."""
    properties = _at("properties", _objects.decode, values["properties"])
    return _converted({**values, "properties": properties}, OutboxMessage)


def read_object(text: str) -> dict[str, Any]:
    """Read a JSON object, or raise one of ``READ_ERRORS``."""
    return _objects.decode(text)


def read_texts(text: str) -> tuple[str, ...]:
    """Read a JSON list of texts, or raise one of ``READ_ERRORS``."""
    return _texts.decode(text)


def read_presence(values: Values) -> WorkerPresence:
    """Read a worker's presence, or raise one of ``READ_ERRORS``."""
    return _converted({**values, "queues": _texts.decode(values["queues"])}, WorkerPresence)


def read_snapshot(values: Values) -> SnapshotRecord:
    """Read a snapshot, or raise one of ``READ_ERRORS``."""
    return _converted(values, SnapshotRecord)


def read_timer(values: Values) -> Timer:
    """Read a timer, or raise one of ``READ_ERRORS``."""
    return _converted(values, Timer)


def read_id(value: object) -> InputId:
    """Read an id as the database holds it."""
    return value if isinstance(value, UUID) else UUID(cast("str", value))


def raw_row(values: Values) -> bytes:
    """Write a row that cannot be read as JSON, whatever is in it, for people to look at."""
    return _encoder.encode({name: _shown(value) for name, value in values.items()})


def _shown(value: object) -> object:
    match value:
        case None | bool() | int() | float() | UUID() | datetime():
            return value
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case _:
            return harmless(str(value))


def _converted(values: Mapping[str, Any] | Iterable[Any], kind: type[_T]) -> _T:
    return msgspec.convert(values, kind, strict=False)


def _at(column: str, decode: Callable[[Any], _T], value: object) -> _T:
    """Decode a JSON column, naming it in the error."""
    try:
        return decode(value)
    except TypeError as error:
        raise msgspec.ValidationError(f"expected text - at `$.{column}`") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        below = MalformedError.from_decoder(error)
        path = below.path.removeprefix("$")
        raise msgspec.ValidationError(f"{below.problem} - at `$.{column}{path}`") from error
