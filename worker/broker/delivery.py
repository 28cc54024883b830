"""Delivery: one message in our hands, to be settled exactly once."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

import msgspec
from aiormq.abc import DeliveredMessage

from schemas.envelope import Envelope

_COUNT: Final = "x-delivery-count"


def envelope_of(message: DeliveredMessage) -> Envelope:
    """Read a message in the client's form into ours."""
    properties = message.header.properties
    return _without_count(
        Envelope(
            routing_key=message.routing_key or "",
            body=message.body,
            message_id=properties.message_id,
            type=properties.message_type,
            content_type=properties.content_type,
            reply_to=properties.reply_to,
            correlation_id=properties.correlation_id,
            headers=properties.headers or {},
        )
    )


def _without_count(envelope: Envelope) -> Envelope:
    """Leave out what is the broker's, about this delivery: it must not be carried along."""
    if _COUNT not in envelope.headers:
        return envelope
    headers = {name: value for name, value in envelope.headers.items() if name != _COUNT}
    return msgspec.structs.replace(envelope, headers=headers)


class Settlement(enum.Enum):
    """What has become of a delivery."""

    OPEN = "open"
    ACKED = "acked"
    """Its holder is done with it; the broker is to be told."""
    SENT = "sent"
    """The ack has been handed to the connection."""
    RETURNED = "returned"


class Delivery:
    """A message from a queue.

    Call either ``ack`` (its effect is committed) or ``give_back`` (somebody else must have it),
    once. Both are synchronous, return at once and never fail because the broker is away.

    Attributes:
        envelope: The message.
        queue: The queue that it came from.
        redelivered: Whether it may have been in somebody's hands before.
        delivery_count: How often it came back to the queue.
        received: When it came, in seconds of the event loop's clock.
    """

    __slots__ = (
        "_on_settled",
        "delivery_count",
        "envelope",
        "queue",
        "received",
        "redelivered",
        "settlement",
        "tag",
    )

    def __init__(
        self,
        envelope: Envelope,
        *,
        tag: int,
        redelivered: bool,
        queue: str,
        received: float,
        on_settled: Callable[[Delivery], None],
    ) -> None:
        count = envelope.headers.get(_COUNT)
        self.envelope = _without_count(envelope)
        self.queue = queue
        self.redelivered = redelivered
        # A publisher may have written anything there.
        self.delivery_count = count if isinstance(count, int) else 0
        self.received = received
        self.tag = tag
        self.settlement = Settlement.OPEN
        self._on_settled = on_settled

    def ack(self) -> None:
        """Say that its effect is committed: the broker may forget it."""
        self._settle(Settlement.ACKED)

    def give_back(self) -> None:
        """Say that it was not processed: it goes back to its place in the queue.

        The consumer it came from ends, so that nothing overtakes it.
        """
        self._settle(Settlement.RETURNED)

    def _settle(self, settlement: Settlement) -> None:
        if self.settlement is not Settlement.OPEN:
            raise RuntimeError(f"a delivery from {self.queue} was settled twice")
        self.settlement = settlement
        self._on_settled(self)
