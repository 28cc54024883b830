"""Dramatiq, which acks after the work by itself. It declares classic queues, durable ones."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries, ShutdownNotifications

from benchmarks.peers.work import AMQP, QUEUE, told, wait_at_gate, work_to_load, write

dramatiq.set_broker(RabbitmqBroker(url=told(AMQP), middleware=[ShutdownNotifications(), Retries()]))


@dramatiq.actor(queue_name=told(QUEUE))
def take(message_id: str, runtime_id: str, text: str) -> None:
    """Write and commit one row; Dramatiq acks afterwards."""
    write(message_id, runtime_id, text)


if __name__ == "__main__":
    for work in work_to_load():
        take.send(*work)
else:
    wait_at_gate()
