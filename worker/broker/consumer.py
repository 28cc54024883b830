"""Consumer: takes one queue's messages, in order, and tells the broker which ones are settled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aiormq import Channel
from pamqp.commands import Basic

from schemas.envelope import Envelope
from worker.broker.acks import Acks, ack_frame
from worker.broker.connection import Connection, close_channel, close_channel_soon
from worker.broker.delivery import Delivery, Settlement
from worker.broker.errors import translated
from worker.broker.tally import Ended, Tally
from worker.logger import Logger

CONSUME_SECONDS: Final = 10.0
"""A healthy queue answers in milliseconds; see ``Subscription`` for one that never does."""


log = Logger(__name__)


class Consumer:
    """One queue on one channel, from ``open`` until ``ended``.

    ``on_delivery`` is called in the broker's order, while the connection reads, and must return at
    once; work belongs into a task of the callee.

    It leaves a queue only by closing the channel once everything in hand is settled. A mere cancel
    would let the next single active consumer begin behind the messages that we still hold.
    """

    def __init__(
        self,
        channel: Channel,
        acks: Acks,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        tally: Tally,
    ) -> None:
        self._channel = channel
        self._acks = acks
        self._on_delivery = on_delivery
        self._loop = asyncio.get_running_loop()
        self._hand: deque[Delivery] = deque()
        self._open = 0
        self._fresh: list[Delivery] = []
        self._leaver: asyncio.Task[None] | None = None
        self._leaving: Ended | None = None
        self._settled = asyncio.Event()
        self._settled.set()
        self.queue = queue
        self.tally = tally
        self.ended: asyncio.Future[Ended] = self._loop.create_future()

    @classmethod
    async def open(
        cls,
        connection: Connection,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        tally: Tally | None = None,
    ) -> Consumer:
        """Consume ``queue``, with at most ``prefetch`` messages in hand, counting into ``tally``.

        Raises:
            QueueMissingError: There is no such queue.
            QueueBrokenError: The queue answers INTERNAL_ERROR (or another one that was being
                consumed at the same moment: the broker closes the whole connection over it).
            NoAnswerError: The queue does not answer.
            BrokerUnavailableError: The connection was lost.
        """
        channel = await connection.channel()
        consumer = cls(channel, connection.acks, queue, on_delivery, tally or Tally())
        channel.on_consumer_cancel_callbacks.add(consumer._on_cancelled)
        try:
            with translated(f"cannot consume {queue}"):
                await channel.basic_qos(prefetch_count=prefetch, timeout=CONSUME_SECONDS)
                await connection.take(channel, queue, consumer._receive, timeout=CONSUME_SECONDS)
                channel.closing.add_done_callback(consumer._on_closing)
        except BaseException:
            consumer.ended.cancel()  # It never began: no end to count, and nothing is acked.
            close_channel_soon(channel)
            raise
        return consumer

    @property
    def is_live(self) -> bool:
        """Tell whether it takes messages."""
        return self._leaving is None and not self.ended.done()

    @property
    def open_deliveries(self) -> int:
        """How many deliveries are in hand, not settled."""
        return self._open

    @property
    def oldest_open(self) -> float | None:
        """When the oldest delivery in hand came, in seconds of the event loop's clock."""
        for delivery in self._hand:
            if delivery.settlement is Settlement.OPEN:
                return delivery.received
        return None

    async def release(self, *, deadline: float) -> None:
        """Take no more; when all in hand is settled, or after ``deadline`` seconds, let go.

        What is not settled by then comes back to the queue, to be delivered again.
        """
        self._leave(Ended.RELEASED)
        if self._leaver is not None:
            await asyncio.wait({self._leaver}, timeout=deadline)
        if not self.ended.done():
            if self._leaver is not None:
                self._leaver.cancel()
            self._end(Ended.RELEASED)
            await close_channel(self._channel)

    def _receive(self, envelope: Envelope, tag: int, redelivered: bool) -> None:  # noqa: FBT001
        if not self.is_live:
            return  # It stays unacked, and goes back to its place when the channel closes.
        delivery = Delivery(
            envelope,
            tag=tag,
            redelivered=redelivered,
            queue=self.queue,
            received=self._loop.time(),
            on_settled=self._on_settled,
        )
        self._hand.append(delivery)
        self._open += 1
        self._settled.clear()
        self.tally.taken += 1
        try:
            self._on_delivery(delivery)
        except Exception:  # the top of this actor: no delivery may stay in no one's hands
            log.exception("broker.delivery_callback_failed", queue=self.queue)
            if delivery.settlement is Settlement.OPEN:
                delivery.give_back()

    def _on_settled(self, delivery: Delivery) -> None:
        self._open -= 1
        if self._open == 0:
            self._settled.set()
        if delivery.settlement is Settlement.RETURNED:
            self._leave(Ended.RETURNED)
        elif self.ended.done():
            self.tally.lost_acks += 1
        else:
            self._fresh.append(delivery)
            if len(self._fresh) == 1:
                self._acks.due(self)

    def take_acks(self) -> bytes:
        """See ``Acker``: a cumulative ack up to the first gap, and one for each behind it."""
        # The client strikes a channel off as soon as it has read its end, and answers later.
        channels = self._channel.connection.channels
        if self.ended.done() or channels.get(self._channel.number) is not self._channel:
            return b""
        fresh, self._fresh = self._fresh, []
        number, last = self._channel.number, self._pop_settled()
        frames = [] if last is None else [ack_frame(number, last.tag, multiple=True)]
        for delivery in fresh:
            if delivery.settlement is Settlement.ACKED:
                delivery.settlement = Settlement.SENT
                frames.append(ack_frame(number, delivery.tag, multiple=False))
        return b"".join(frames)

    def _pop_settled(self) -> Delivery | None:
        """Drop the settled head of what is in hand; the last one not yet acked of it, if any."""
        last = None
        while self._hand:
            match self._hand[0].settlement:
                case Settlement.ACKED:
                    last = self._hand.popleft()
                    last.settlement = Settlement.SENT
                case Settlement.SENT:
                    self._hand.popleft()
                case Settlement.OPEN | Settlement.RETURNED:
                    break
        return last

    def _on_cancelled(self, _frame: Basic.Cancel) -> None:
        self._end(Ended.CANCELLED)
        close_channel_soon(self._channel)

    def _on_closing(self, _closing: asyncio.Future[None]) -> None:
        self._end(Ended.LOST)

    def _leave(self, why: Ended) -> None:
        if not self.is_live:
            return
        self._leaving = why
        self._leaver = asyncio.create_task(self._settle_and_close(why))

    async def _settle_and_close(self, why: Ended) -> None:
        await self._settled.wait()
        await self._acks.sent()
        self._end(why)
        await close_channel(self._channel)

    def _end(self, why: Ended) -> None:
        if self.ended.done():
            return
        self.tally.ended[why] += 1
        self.tally.lost_acks += len(self._fresh)
        self._fresh.clear()
        self.ended.set_result(why)
