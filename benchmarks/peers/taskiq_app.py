"""Taskiq on aio-pika: asynchronous tasks on a quorum queue, acked when executed."""

from __future__ import annotations

import asyncio

from taskiq_aio_pika import AioPikaBroker, Exchange, Queue
from taskiq_aio_pika.queue import QueueType

from benchmarks.peers.work import (
    AMQP,
    CONNECTIONS,
    QUEUE,
    told,
    wait_at_gate,
    work_to_load,
    write_async,
)

broker = AioPikaBroker(
    told(AMQP),
    qos=10 * int(told(CONNECTIONS)),
    exchange=Exchange(name=f"{told(QUEUE)}.exchange"),
    task_queues=[Queue(name=told(QUEUE), type=QueueType.QUORUM, durable=True)],
    dead_letter_queue=Queue(name=f"{told(QUEUE)}.dead", type=QueueType.QUORUM),
)


@broker.task(task_name="take")
async def take(message_id: str, runtime_id: str, text: str) -> None:
    """Write and commit one row; Taskiq acks afterwards."""
    await write_async(message_id, runtime_id, text)


async def load() -> None:
    """Put the work into the queue."""
    await broker.startup()
    await asyncio.gather(*(take.kiq(*work) for work in work_to_load()))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(load())
else:
    wait_at_gate()
