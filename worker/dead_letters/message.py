"""Messages of dead letters: what is published when a letter is redriven, and where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from schemas.envelope import Envelope
from schemas.records import OutboxMessage
from store.dead_letters import Letter
from worker.broker.topology import Topology
from worker.dead_letters.claims import Claim
from worker.dead_letters.collect import is_inbox
from worker.dead_letters.deaths import without_deaths

_KEPT: Final = ("message_id", "type", "content_type", "reply_to", "correlation_id")


@dataclass(frozen=True, slots=True)
class Destination:
    """An exchange and a routing key; the empty exchange takes the name of a queue."""

    exchange: str
    routing_key: str


def destination(letter: Letter, topology: Topology) -> Destination | None:
    """Tell where a letter's message goes: to its runtime, else back to the queue it died in.

    None if it names no runtime and came from an inbox, where a runtime is what its key must name.
    Never to an exchange of others: one that is gone would end the channel of all that is published.
    """
    if letter.runtime_id is not None:
        return Destination(topology.inbox, letter.runtime_id)
    queue = letter.source_queue
    if not queue or queue == topology.dead or is_inbox(queue, topology):
        return None
    return Destination("", queue)


def envelope_of(letter: Letter, body: bytes) -> Envelope:
    """Make the message of a letter as it came, without the broker's own marks."""
    headers = letter.properties.get("headers") or {}
    kept = {name: letter.properties.get(name) for name in _KEPT}
    return Envelope(
        routing_key=letter.runtime_id or str(letter.properties.get("routing_key", "")),
        body=body,
        headers=without_deaths(headers),
        **kept,
    )


def again(
    letter: Letter, body: bytes, topology: Topology, *, row_id: UUID, now: datetime
) -> OutboxMessage | None:
    """Make the message that publishes a letter again; None if it has nowhere to go.

    Same ids, same reply address; the headers say which redrive of which letter it is.
    """
    to = destination(letter, topology)
    if to is None:
        return None
    envelope = envelope_of(letter, body)
    given: dict[str, Any] = {name: getattr(envelope, name) for name in _KEPT}
    claim = Claim(letter.id, letter.redrive_count)
    return OutboxMessage(
        id=row_id,
        runtime_id=letter.runtime_id,
        exchange=to.exchange,
        routing_key=to.routing_key,
        properties={
            **{name: value for name, value in given.items() if value is not None},
            "headers": {**envelope.headers, **claim.headers},
        },
        body=body,
        created_at=now,
    )
