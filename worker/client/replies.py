"""Replies: the queue on which a client hears how its inputs and commands ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from uuid_utils.compat import uuid7

from schemas.envelope import Envelope
from worker.broker.backoff import Backoff
from worker.broker.connection import Connection
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import BrokerError, translated
from worker.broker.link import Link
from worker.broker.topology import Topology
from worker.logger import Logger

EXPIRES_SECONDS: Final = 600
"""How long the broker keeps the queue of a client that is away."""

_RPC_SECONDS: Final = 15.0
_RELEASE_SECONDS: Final = 2.0
_PREFETCH: Final = 200

log = Logger(__name__)


class Replies:
    """A queue of this client's own, declared when it is first needed.

    It is durable and expires, and is not exclusive: an exclusive queue, and direct reply-to
    (``amq.rabbitmq.reply-to``) just as much, die with the connection, and a reply that is sent
    while the client reconnects would be lost. Here it waits, even through a broker's restart.
    """

    def __init__(self, link: Link, topology: Topology) -> None:
        self.queue = f"{topology.namespace}.replies.{uuid7()}"
        self._link = link
        self._waiting: dict[str, list[asyncio.Future[Envelope]]] = {}
        self._listening = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Return once somebody listens on the queue."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen_for_ever(), name="replies")
        await self._listening.wait()

    @contextmanager
    def expect(self, correlation_id: str) -> Iterator[asyncio.Future[Envelope]]:
        """Wait for the first reply with this correlation id: the future gets it."""
        reply: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(correlation_id, []).append(reply)
        try:
            yield reply
        finally:
            self._waiting[correlation_id].remove(reply)
            if not self._waiting[correlation_id]:
                del self._waiting[correlation_id]

    async def close(self) -> None:
        """Stop listening and delete the queue; away from the broker, it expires by itself."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._consumer is not None:
            await self._consumer.release(deadline=_RELEASE_SECONDS)
        connection = self._link.connection
        if connection is None or not connection.is_open:
            return
        try:
            with translated(f"cannot delete {self.queue}"):
                channel = await connection.channel()
                await channel.queue_delete(self.queue, timeout=_RPC_SECONDS)
        except BrokerError as error:
            log.info("client.replies_left_to_expire", queue=self.queue, reason=str(error))

    async def _listen_for_ever(self) -> None:
        backoff = Backoff()
        while True:
            connection = await self._link.ready()
            try:
                self._consumer = await self._listen(connection)
            except BrokerError as error:
                log.warning("client.replies_unheard", queue=self.queue, reason=str(error))
            else:
                backoff.reset()
                self._listening.set()
                await asyncio.wait({self._consumer.ended})
                self._listening.clear()
            await asyncio.sleep(backoff.delay())

    async def _listen(self, connection: Connection) -> Consumer:
        channel = await connection.channel()
        with translated(f"cannot declare queue {self.queue}"):
            await channel.queue_declare(
                self.queue,
                durable=True,
                arguments={"x-queue-type": "classic", "x-expires": EXPIRES_SECONDS * 1000},
                timeout=_RPC_SECONDS,
            )
            await channel.close()
        return await Consumer.open(connection, self.queue, self._take, prefetch=_PREFETCH)

    def _take(self, delivery: Delivery) -> None:
        delivery.ack()
        for reply in self._waiting.get(delivery.envelope.correlation_id or "", ()):
            if not reply.done():
                reply.set_result(delivery.envelope)
