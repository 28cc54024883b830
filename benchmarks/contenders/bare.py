"""Contender a: aio-pika consumes and acks, cumulatively per 100. Nothing is done with a message."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.assignment import Assignment, received, report

PREFETCH: Final = 1_000
ACK_EVERY: Final = 100


class Taker:
    """Counts messages, and acks them by the hundred."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._taken = 0
        self._began = 0.0
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def take(self, message: AbstractIncomingMessage) -> None:
        if self._taken == 0:
            self._began = perf_counter()
        self._taken += 1
        if self._taken % ACK_EVERY == 0 or self._taken == self._messages:
            await message.ack(multiple=True)
        if self._taken == self._messages:
            self.done.set_result(perf_counter() - self._began)


async def consume(assignment: Assignment) -> float:
    """Consume every message; answers the seconds from the first delivery to the last ack."""
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
