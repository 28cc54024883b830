"""Takeover: dead letters from any queue of the broker into the table, commit then ack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from schemas.dead_letters import DeadLetter, DeadLetterReason
from store.ports import Commit, CommitResult
from store.sql import SqlStore
from worker.broker.connection import Connection
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import QueueMissingError
from worker.broker.inspect import queue_facts
from worker.broker.topology import Topology
from worker.dead_letters.collect import collected, is_inbox

BATCH: Final = 100
"""Messages of one transaction."""

QUIET_SECONDS: Final = 0.5
"""How long a queue says nothing before it is asked whether it is empty."""

RELEASE_SECONDS: Final = 5.0


class InUseError(ValueError):
    """A queue whose messages are no dead letters: workers live on it."""


@dataclass(slots=True)
class Takeover:
    """Empties a dead-letter queue.

    Attributes:
        progress: Told how many messages were taken, after each transaction.
    """

    store: SqlStore
    topology: Topology
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    progress: Callable[[int], None]
    _waiting: list[Delivery] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, connection: Connection, queue: str, *, limit: int | None = None) -> int:
        """Take messages until the queue is empty, or ``limit`` of them; answers how many.

        Raises:
            InUseError: It is an inbox, or the queue of registrations.
            QueueMissingError: There is no such queue.
            StoreError: The database is away: what it has not taken stays in the queue.
            BrokerUnavailableError: The connection was lost.
        """
        topology = self.topology
        if is_inbox(queue, topology) or queue == topology.registrations:
            raise InUseError(f"queue {queue} is no dead-letter queue: workers live on it")
        if await queue_facts(connection, queue) is None:
            raise QueueMissingError(f"there is no queue {queue}")
        most = BATCH if limit is None else min(BATCH, limit)
        consumer = await Consumer.open(connection, queue, self._take, prefetch=most)
        try:
            return await self._empty(connection, consumer, limit)
        finally:
            # Nothing comes in between: a consumer that is being released takes no more.
            _give_back(self._waiting)
            self._waiting.clear()
            await consumer.release(deadline=RELEASE_SECONDS)

    def _take(self, delivery: Delivery) -> None:
        self._waiting.append(delivery)
        self._came.set()

    async def _empty(self, connection: Connection, consumer: Consumer, limit: int | None) -> int:
        taken = 0
        while limit is None or taken < limit:
            await self._until_any(connection, consumer)
            most = BATCH if limit is None else min(BATCH, limit - taken)
            batch, self._waiting = self._waiting[:most], self._waiting[most:]
            if not batch:
                break
            await self._keep(batch)
            taken += len(batch)
            self.progress(taken)
        return taken

    async def _until_any(self, connection: Connection, consumer: Consumer) -> None:
        """Wait until a message is here, or the queue is empty, or it is taken from us."""
        while not self._waiting and consumer.is_live:
            self._came.clear()
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._came.wait()
            except TimeoutError:
                facts = await queue_facts(connection, consumer.queue)
                if facts is None or facts.ready == 0:
                    return

    async def _keep(self, batch: Sequence[Delivery]) -> None:
        parts = [Commit(None, 0, dead_letters=(self._letter(one),)) for one in batch]
        try:
            results = await self.store.commit(parts)
        except BaseException:
            _give_back(batch)
            raise
        for delivery, result in zip(batch, results, strict=True):
            if result is CommitResult.COMMITTED:
                delivery.ack()
            else:
                delivery.give_back()

    def _letter(self, delivery: Delivery) -> DeadLetter:
        letter = collected(
            delivery.envelope,
            self.topology,
            letter_id=self.new_id(),
            source_queue=delivery.queue,
            at=self.clock(),
        )
        return replace(letter, reason=DeadLetterReason.IMPORTED)


def _give_back(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        delivery.give_back()
