"""Dead letters: messages and inputs that cannot be processed, kept with reason and bytes."""

from __future__ import annotations

import enum
import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec

from schemas.ids import DeadLetterId, RuntimeId


class DeadLetterReason(enum.StrEnum):
    """Why a message or an input is a dead letter. Closed."""

    MALFORMED = "malformed"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    NOT_READY = "not_ready"
    UNKNOWN_RUN = "unknown_run"
    PROTOCOL = "protocol"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    DELIVERY_LIMIT = "delivery_limit"
    CORRUPT_RECORD = "corrupt_record"
    UNROUTABLE = "unroutable"
    IMPORTED = "imported"


class DeadLetterStatus(enum.StrEnum):
    """What became of a dead letter.

    ``redriven``: its message is on its way again. ``closed``: that message was processed.
    """

    OPEN = "open"
    REDRIVEN = "redriven"
    CLOSED = "closed"
    DISCARDED = "discarded"


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter as it is written.

    ``properties`` holds the message's AMQP properties and headers as JSON-ready values; ``body``
    the original bytes. ``detail`` is for people: it names fields and shapes, never payload.
    """

    id: DeadLetterId
    runtime_id: RuntimeId | None
    source_queue: str
    message_id: str | None
    type: str | None
    properties: dict[str, Any]
    body: bytes
    reason: DeadLetterReason
    detail: str
    at: datetime

    @property
    def fingerprint(self) -> str:
        """Letters that failed alike share it."""
        return fingerprint(self.reason, self.detail)


_VARIABLE = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|sha256:[0-9a-f]{64}|\b[0-9a-f]{12,64}\b|\d+"
)


def fingerprint(reason: DeadLetterReason, detail: str) -> str:
    """Group alike failures: the reason, and the detail with ids and numbers taken out. 16 hex."""
    normal = _VARIABLE.sub("#", detail)
    return hashlib.sha256(f"{reason}\0{normal}".encode()).hexdigest()[:16]
