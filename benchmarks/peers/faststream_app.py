"""FastStream on RabbitMQ: an asynchronous subscriber on a quorum queue, acked after the work."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from benchmarks.peers.work import (
    AMQP,
    CONNECTIONS,
    QUEUE,
    told,
    wait_at_gate,
    work_to_load,
    write_async,
)

broker = RabbitBroker(
    told(AMQP),
    default_channel=Channel(prefetch_count=10 * int(told(CONNECTIONS))),
    logger=None,  # it would write two lines a message
    apply_types=False,  # nor need it check what we have sent ourselves
)
queue = RabbitQueue(told(QUEUE), queue_type=QueueType.QUORUM, durable=True)


@broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)
async def take(message: list[str]) -> None:
    """Write and commit one row; FastStream acks afterwards."""
    await write_async(*message)


async def load() -> None:
    """Put the work into the queue."""
    async with broker:
        await broker.declare_queue(queue)
        sent = (broker.publish(list(work), queue, persist=True) for work in work_to_load())
        await asyncio.gather(*sent)


if __name__ == "__main__":
    if "load" in sys.argv:
        asyncio.run(load())
    else:
        wait_at_gate()
        uvloop.run(FastStream(broker, logger=None).run())
