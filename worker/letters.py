"""Letters: from a message that cannot be processed to the dead letter that keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.envelope import Envelope
from schemas.ids import RuntimeId
from schemas.outcomes import (
    Accepted,
    Conflict,
    Deduplicated,
    NothingToRun,
    NotReady,
    Ok,
    Outcome,
    Refused,
    Rejected,
    Report,
    RunStart,
    Stale,
)
from worker.disposition import Disposition

Cause = tuple[DeadLetterReason, str]


def disposition_of(outcome: Outcome, *, command: bool) -> tuple[Disposition, Cause | None]:
    """Tell how a delivery ends by what the driver answered, and the cause if it is a dead letter.

    A command that the runtime's state refuses has its answer in its report: it is no dead letter.
    """
    match outcome:
        case Accepted() | Ok() | Report() | RunStart() | NothingToRun():
            return Disposition.DONE, None
        case Deduplicated() | NotReady(known=True):
            return Disposition.DUPLICATE, None
        case Stale():
            return Disposition.STALE, None
        case Refused() if command:
            return Disposition.REFUSED, None
        case Refused() | Conflict() | Rejected() | NotReady():
            return Disposition.DEAD_LETTER, _cause(outcome)
        case _:
            assert_never(outcome)


def _cause(outcome: Refused | Conflict | Rejected | NotReady) -> Cause:
    match outcome:
        case Refused(reason=reason, unknown_run=True):
            return DeadLetterReason.UNKNOWN_RUN, reason
        case Refused(reason=reason):
            return DeadLetterReason.PROTOCOL, reason
        case Conflict(existing_digest=existing, digest=digest):
            detail = f"input id is taken: payload digest {existing[:12]} there, {digest[:12]} here"
            return DeadLetterReason.CONFLICT, detail
        case Rejected(reason=reason):
            return DeadLetterReason.REJECTED, reason
        case NotReady(state=state):
            return DeadLetterReason.NOT_READY, f"runtime is {state}: it takes no input"
        case _:
            assert_never(outcome)


def letter(
    envelope: Envelope,
    *,
    letter_id: UUID,
    runtime_id: RuntimeId | None,
    source_queue: str,
    cause: Cause,
    at: datetime,
) -> DeadLetter:
    """Keep a message with the reason why it cannot be processed."""
    reason, detail = cause
    return DeadLetter(
        id=letter_id,
        runtime_id=runtime_id,
        source_queue=source_queue,
        message_id=envelope.message_id,
        type=envelope.type,
        properties=_properties(envelope),
        body=envelope.body,
        reason=reason,
        detail=detail,
        at=at,
    )


def _properties(envelope: Envelope) -> dict[str, Any]:
    named = {
        "routing_key": envelope.routing_key,
        "message_id": envelope.message_id,
        "type": envelope.type,
        "content_type": envelope.content_type,
        "reply_to": envelope.reply_to,
        "correlation_id": envelope.correlation_id,
        "headers": plain(envelope.headers) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def plain(value: Any) -> Any:  # noqa: ANN401 - AMQP tables hold any of a dozen types
    """Bring a value of an AMQP table to what JSON can hold; bytes and the unknown become text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case bytes() | bytearray():
            return value.decode("utf-8", "backslashreplace")
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
