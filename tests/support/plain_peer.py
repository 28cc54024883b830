"""A peer of the benchmarks' contest, in plain AMQP: one row, one commit, one ack."""

from __future__ import annotations

import asyncio
import json
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.peers.work import AMQP, QUEUE, told, wait_at_gate, work_to_load, write_async


async def load() -> None:
    """Put the work into the queue."""
    async with await aio_pika.connect(told(AMQP)) as connection:
        channel = await connection.channel()
        await channel.declare_queue(told(QUEUE), durable=True)
        for work in work_to_load():
            message = aio_pika.Message(json.dumps(work).encode(), delivery_mode=2)
            await channel.default_exchange.publish(message, told(QUEUE))


async def take(message: AbstractIncomingMessage) -> None:
    """Write and commit one row, then ack."""
    await write_async(*json.loads(message.body))
    await message.ack()


async def serve() -> None:
    """Take until terminated."""
    async with await aio_pika.connect(told(AMQP)) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue(told(QUEUE))
        await queue.consume(take)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if "load" in sys.argv:
        asyncio.run(load())
    else:
        wait_at_gate()
        asyncio.run(serve())
