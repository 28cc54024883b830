"""The intake: takes run requests from a pool, and never one that cannot be begun at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog
from aiormq import Channel
from aiormq.abc import DeliveredMessage

from schemas.envelope import Envelope
from schemas.errors import MalformedError
from worker.broker.backoff import Backoff
from worker.broker.connection import Connection, close_channel
from worker.broker.delivery import envelope_of
from worker.broker.errors import BrokerError, BrokerUnavailableError, translated
from worker.broker.link import Link
from worker.broker.topology import Topology

_RPC_SECONDS: Final = 15.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Begin: TypeAlias = Callable[[Envelope], Awaitable[bool]]
"""Begins what a request asks for, and tells whether it occupies the slot from now on. The request
is acked then; on a ``BrokerError`` it is tried again for as long as it is in our hand, and on a
``MalformedError`` it becomes a dead letter."""


class Intake:
    """Consumes a pool with one request in hand, while there is a free slot.

    Several may share the slots, to begin runs side by side.

    A request is acked as soon as its run has begun, so prefetch cannot bound the number of runs;
    and a request in the hand of a busy executor would wait while an idle one could have it. So the
    consumer is cancelled before the ack that would bring one request too many (the broker takes
    both in that order) and begins again when a slot is free.

    Args:
        link: The connection to consume on.
        topology: The names.
        pool: The pool to take from.
        slots: One is taken for each run that is begun; whoever performs the run releases it.
        begin: Begins a run.
    """

    def __init__(
        self, link: Link, topology: Topology, pool: str, slots: asyncio.Semaphore, begin: Begin
    ) -> None:
        self._link = link
        self._topology = topology
        self._pool = pool
        self._slots = slots
        self._begin = begin

    async def take(self) -> None:
        """Take requests for ever; cancelled, it leaves what is in hand to others."""
        backoff = Backoff()
        while True:
            connection = await self._link.ready()
            try:
                await self._take_on(connection, backoff)
            except BrokerError as error:
                log.warning("executor.pool_unavailable", pool=self._pool, reason=str(error))
            await asyncio.sleep(backoff.delay())

    async def _take_on(self, connection: Connection, backoff: Backoff) -> None:
        channel = await connection.channel()
        try:
            await self._topology.declare_pool(channel, self._pool)
            hand = await _Hand.open(channel, self._topology.pool_queue(self._pool))
            backoff.reset()
            await self._take_with(hand)
        finally:
            await close_channel(channel)

    async def _take_with(self, hand: _Hand) -> None:
        """Receive only while a slot is ours; a run that has begun keeps it, so take another."""
        owns = False
        try:
            while True:
                if not owns:
                    owns = await self._slots.acquire()
                if await self._take_one(hand):
                    owns = not self._slots.locked()
                    await (self._slots.acquire() if owns else hand.rest())
                await hand.ack()
        finally:
            if owns:
                self._slots.release()

    async def _take_one(self, hand: _Hand) -> bool:
        request = await hand.receive()
        try:
            return await self._insist(hand, request)
        except MalformedError as error:
            log.error("executor.request_malformed", pool=self._pool, reason=str(error))  # noqa: TRY400 - the sentence says it all
            await hand.refuse()
            return False

    async def _insist(self, hand: _Hand, request: Envelope) -> bool:
        """Begin a run while the request is ours.

        Giving it back instead would count against its delivery limit, so that a broker that blocks
        publishers for some minutes would end as dead letters.
        """
        backoff = Backoff()
        while True:
            try:
                return await self._begin(request)
            except BrokerError as error:
                if not hand.is_open:
                    raise
                log.warning("executor.run_not_begun", reason=str(error))
            await asyncio.sleep(backoff.delay())


class _Hand:
    """A consumer that can rest, and never holds more than one message."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._tag: str | None = None
        self._held: int | None = None
        self._received: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        # aiormq hands out a new observer at each access; this one lives as long as we do.
        self._closing = channel.closing

    @classmethod
    async def open(cls, channel: Channel, queue: str) -> _Hand:
        hand = cls(channel, queue)
        channel.on_consumer_cancel_callbacks.add(hand._end)
        hand._closing.add_done_callback(hand._end)
        with translated(f"cannot consume {queue}"):
            await channel.basic_qos(prefetch_count=1, timeout=_RPC_SECONDS)
        return hand

    @property
    def is_open(self) -> bool:
        return not self._channel.is_closed

    async def receive(self) -> Envelope:
        """Consume, if at rest, and wait for a message."""
        if self._tag is None:
            with translated(f"cannot consume {self._queue}"):
                answer = await self._channel.basic_consume(
                    self._queue, self._received.put, timeout=_RPC_SECONDS
                )
            self._tag = answer.consumer_tag
        message = await self._received.get()
        if message is None:
            raise BrokerUnavailableError(f"{self._queue} is no longer consumed")
        self._held = message.delivery_tag
        return envelope_of(message)

    async def rest(self) -> None:
        """Receive no more until asked to. What follows on the channel comes after this."""
        tag, self._tag = self._tag, None
        with translated(f"cannot pause {self._queue}"):
            await self._channel.basic_cancel(tag or "", nowait=True)

    async def ack(self) -> None:
        """Be done with the message in hand, if any. On a dead channel it will come again."""
        tag, self._held = self._held, None
        if tag is not None:
            with translated(f"cannot ack on {self._queue}"):
                await self._channel.basic_ack(tag, wait=False)

    async def refuse(self) -> None:
        """Have the broker dead-letter the message in hand."""
        tag, self._held = self._held, None
        with translated(f"cannot refuse on {self._queue}"):
            await self._channel.basic_reject(tag or 0, requeue=False, wait=False)

    def _end(self, _reason: object) -> None:
        self._received.put_nowait(None)
