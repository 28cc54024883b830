"""Deaths: what the broker writes into the headers of a message that it dead-letters.

RabbitMQ 3.10 to 4.x write the list ``x-death``, the latest death first, and ``x-first-death-*``;
3.13 and later also ``x-last-death-*``. A message with none of these was published to the
dead-letter exchange by somebody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.dead_letters import DeadLetterReason

_MARKS: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")

_REASONS: Final = {
    "delivery_limit": (
        DeadLetterReason.DELIVERY_LIMIT,
        "it came back to its queue more often than the queue's delivery limit allows",
    ),
    "rejected": (DeadLetterReason.REJECTED, "a consumer of its queue rejected it"),
    "expired": (DeadLetterReason.UNROUTABLE, "it outlived its time in its queue"),
    "maxlen": (DeadLetterReason.UNROUTABLE, "there was no room for it in its queue"),
}


@dataclass(frozen=True, slots=True)
class Death:
    """Where a message was before anything happened to it, and what the broker gave it up for.

    Attributes:
        queue: The queue that it died in first; None if no death is recorded.
        exchange: Where it was published, as far as that is recorded.
        routing_key: With which routing key.
        reason: Why it is a dead letter.
        detail: The same in words.
    """

    queue: str | None
    exchange: str | None
    routing_key: str | None
    reason: DeadLetterReason
    detail: str


def death_of(headers: Mapping[str, Any]) -> Death:
    """Read the headers; what anybody else may have written there in no sense is left out."""
    entries = [entry for entry in _list(headers.get("x-death")) if isinstance(entry, Mapping)]
    queue = _text(headers.get("x-first-death-queue"))
    first = next((entry for entry in reversed(entries) if entry.get("queue") == queue), {})
    latest = entries[0] if entries else {}
    why = _text(latest.get("reason")) or _text(headers.get("x-last-death-reason"))
    reason, detail = _cause(why or _text(headers.get("x-first-death-reason")))
    keys = [key for key in _list(first.get("routing-keys")) if isinstance(key, str)]
    exchange = _text(headers.get("x-first-death-exchange"))
    return Death(queue, exchange, next(iter(keys), None), reason, detail)


def without_deaths(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Take the broker's own marks out: a message that goes out again begins anew."""
    return {name: value for name, value in headers.items() if not name.startswith(_MARKS)}


def _cause(why: str | None) -> tuple[DeadLetterReason, str]:
    if why is None:
        return DeadLetterReason.UNROUTABLE, "it came to the dead-letter queue with no death on it"
    known = _REASONS.get(why)
    return known or (DeadLetterReason.UNROUTABLE, f"the broker dead-lettered it: {why}")


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - a header may hold anything
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:  # noqa: ANN401 - the same
    return value if isinstance(value, str) and value else None
