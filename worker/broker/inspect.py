"""Inspect: what the broker says of a queue, asked without touching it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.broker.connection import Connection
from worker.broker.errors import QueueMissingError, translated

RPC_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """How many messages wait in a queue, those in somebody's hands not counted, and who consumes.

    A broker that has just started may count low for a moment.
    """

    ready: int
    consumers: int


async def queue_facts(connection: Connection, queue: str) -> QueueFacts | None:
    """Ask for a queue; None if there is no such queue.

    Raises:
        BrokerUnavailableError: The connection was lost.
    """
    channel = await connection.channel()
    try:
        with translated(f"cannot look at queue {queue}"):
            ok = await channel.queue_declare(queue, passive=True, timeout=RPC_SECONDS)
            await channel.close()
    except QueueMissingError:
        return None  # The broker has closed the channel over it.
    return QueueFacts(ready=ok.message_count or 0, consumers=ok.consumer_count or 0)
