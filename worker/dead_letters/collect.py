"""Collection: from a dead-letter queue of the broker into the table, commit then ack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from schemas.dead_letters import DeadLetter
from schemas.envelope import Envelope
from schemas.ids import DeadLetterId, RuntimeId, runtime_id
from worker.broker.delivery import Delivery
from worker.broker.topology import Topology
from worker.burial import Burial
from worker.dead_letters.deaths import Death, death_of
from worker.letters import letter


@dataclass(frozen=True, slots=True)
class Collector:
    """Takes what the broker dead-letters by itself. All workers share the work."""

    burial: Burial
    topology: Topology
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery; it will be settled."""
        kept = collected(
            delivery.envelope,
            self.topology,
            letter_id=self.new_id(),
            source_queue=delivery.queue,
            at=self.clock(),
        )
        self.burial.begin(self.burial.keep(delivery, kept))


def collected(
    envelope: Envelope,
    topology: Topology,
    *,
    letter_id: DeadLetterId,
    source_queue: str,
    at: datetime,
) -> DeadLetter:
    """Make a dead letter of a message that the broker dead-lettered.

    It is told by where it was published and where it died first, not by the dead-letter queue
    (``source_queue``) that it was found in, unless nothing else is recorded.
    """
    death = death_of(envelope.headers)
    origin = replace(envelope, routing_key=death.routing_key or envelope.routing_key)
    kept = letter(
        origin,
        letter_id=letter_id,
        runtime_id=_runtime_of(death, origin.routing_key, topology),
        source_queue=death.queue or source_queue,
        cause=(death.reason, death.detail),
        at=at,
    )
    if death.exchange is None:
        return kept
    return replace(kept, properties={**kept.properties, "exchange": death.exchange})


def _runtime_of(death: Death, routing_key: str, topology: Topology) -> RuntimeId | None:
    """Tell whose message it was: a routing key names a runtime in our inboxes only."""
    if death.queue is None or not is_inbox(death.queue, topology):
        return None
    try:
        return runtime_id(routing_key)
    except ValueError:
        return None


def is_inbox(queue: str, topology: Topology) -> bool:
    """Tell whether messages in a queue are for the runtime that their routing key names."""
    return queue == topology.unrouted or queue.startswith(f"{topology.inbox}.")
