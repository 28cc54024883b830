"""Arrivals: the circumstances of one message, all that the driver may not find out by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from schemas.records import Known, ReplyTo

_NOTHING: Final = Known()


class Arrival(msgspec.Struct, frozen=True):
    """The circumstances of one message.

    Attributes:
        now: The moment, with its offset from UTC.
        known: What the store knows of the ids that the batch names.
        jitter: Chance, in [0, 1): spreads retries.
        reply: Who wants to know what becomes of the message.
        traceparent: The publisher's trace context, kept with an input.
        redrive: Whether an operator published it again, with these very bytes.
    """

    now: datetime
    known: Known = _NOTHING
    jitter: float = 0.0
    reply: ReplyTo | None = None
    traceparent: str | None = None
    redrive: bool = False
