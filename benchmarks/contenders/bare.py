"""Contender a: aio-pika consumes and acks, cumulatively per 100. Nothing is done with a message."""

from __future__ import annotations

import asyncio
from typing import Final

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.assignment import Assignment, Moment, received, report

PREFETCH: Final = 1_000
ACK_EVERY: Final = 100


class Taker:
    """Counts messages, and acks them by the hundred."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._taken = 0
        self._began = Moment.now()
        self.done: asyncio.Future[Moment] = asyncio.get_running_loop().create_future()

    async def take(self, message: AbstractIncomingMessage) -> None:
        if self._taken == 0:
            self._began = Moment.now()
        self._taken += 1
        if self._taken % ACK_EVERY == 0 or self._taken == self._messages:
            await message.ack(multiple=True)
        if self._taken == self._messages:
            self.done.set_result(self._began.passed())


async def consume(assignment: Assignment) -> Moment:
    """Consume every message; answers the span from the first delivery to the last ack."""
    async with await aio_pika.connect(assignment.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(assignment.queue, ensure=False)
        taker = Taker(assignment.messages)
        await queue.consume(taker.take)
        return await taker.done


if __name__ == "__main__":
    told = received()
    report(told.messages, uvloop.run(consume(told)))
