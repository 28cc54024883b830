"""Subscription: one queue that is to be consumed, and its consumer while it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from schemas.ids import RuntimeId
from worker.broker.backoff import Backoff
from worker.broker.connection import Connection, close_channel
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import NoAnswerError, QueueBrokenError, QueueMissingError, translated
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.broker.tally import Tally
from worker.broker.topology import Topology

STEADY_SECONDS: Final = 10.0
"""A consumer that lived this long was a good one: the next backoff begins anew."""

RPC_SECONDS: Final = 15.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What all subscriptions of a worker have in common."""

    topology: Topology
    prefetch: int
    on_delivery: Callable[[Delivery], None]
    tally: Tally
    others_live: Callable[[], bool]
    """Tells whether some queue is being consumed: then the broker as a whole is well."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One queue. ``runtime_id`` is None where the queue belongs to no single runtime.

    Attributes:
        busy: What is being done about it; while it runs, nothing else is.
        due: When to try to consume it, in seconds of the event loop's clock.
        suspect: It did not answer, or the broker closed the connection with INTERNAL_ERROR.
    """

    queue: str
    runtime_id: RuntimeId | None
    terms: Terms
    link: Link
    consumer: Consumer | None = None
    busy: asyncio.Task[None] | None = None
    due: float = 0.0
    suspect: bool = False
    _opened: float = 0.0
    _backoff: Backoff = field(default_factory=lambda: Backoff(first=0.1))

    @property
    def is_live(self) -> bool:
        """Tell whether its messages are being taken."""
        return self.consumer is not None and self.consumer.is_live

    async def open(self) -> Consumer:
        """Consume the queue, declaring it if it is gone and replacing it if it is broken.

        Raises:
            BrokerError: Not this time. ``postpone`` says when to try again.
        """
        connection = await self.link.ready()
        if self.suspect:
            await self._clear(connection)
        try:
            consumer = await self._consume(connection)
        except QueueMissingError:
            log.warning("broker.queue_missing", queue=self.queue, action="declared")
            await self._declare(connection)
            consumer = await self._consume(connection)
        self._opened = _now()
        self.consumer = consumer
        return consumer

    def postpone(self) -> None:
        """Try again later, and later each time, until it has lived for a while."""
        if self._opened and _now() - self._opened > STEADY_SECONDS:
            self._backoff.reset()
        self._opened = 0.0
        self.due = _now() + self._backoff.delay()

    async def _consume(self, connection: Connection) -> Consumer:
        try:
            return await Consumer.open(
                connection,
                self.queue,
                self.terms.on_delivery,
                prefetch=self.terms.prefetch,
                tally=self.terms.tally,
            )
        except (QueueBrokenError, NoAnswerError):
            self.suspect = True
            raise

    async def _declare(self, connection: Connection) -> None:
        channel = await connection.channel()
        try:
            if self.runtime_id is None:
                await self.terms.topology.declare_shared(channel)
            else:
                await self.terms.topology.declare_inbox(channel, self.runtime_id)
        finally:
            await close_channel(channel)

    async def _clear(self, connection: Connection) -> None:
        """Find out whether it is this queue that is broken, and if so replace it.

        A quorum queue whose broker was killed within about a second of its declaration never
        answers a consumer from then on, or closes the connection with INTERNAL_ERROR after a
        minute (seen with 3.10 and 4.0). What was confirmed in that second is gone: publishers that
        are unsure publish again, with the same ids.

        A queue that has lost the majority of its cluster looks the same, and must be kept. Hence
        the two conditions beyond its silence: other queues answer, and it claims to be empty.
        """
        if await self._is_broken():
            facts = await queue_facts(connection, self.queue)
            if not self.terms.others_live() or (facts is not None and facts.ready > 0):
                raise QueueBrokenError(f"queue {self.queue} does not answer; left as it is")
            await self._replace(connection)
        self.suspect = False

    async def _replace(self, connection: Connection) -> None:
        log.error("broker.queue_broken", queue=self.queue, action="deleted and declared anew")
        channel = await connection.channel()
        with translated(f"cannot delete queue {self.queue}"):
            await channel.queue_delete(self.queue, timeout=RPC_SECONDS)
        await close_channel(channel)
        await self._declare(connection)
        self.terms.tally.repaired += 1

    async def _is_broken(self) -> bool:
        """Consume it where nobody else is hurt: the broker closes the whole connection over it."""
        connection = await self.link.dial()
        try:
            consumer = await Consumer.open(connection, self.queue, lambda _: None, prefetch=1)
            await consumer.release(deadline=0)
        except (QueueBrokenError, NoAnswerError):
            return True
        except QueueMissingError:
            return False
        finally:
            await connection.close()
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
