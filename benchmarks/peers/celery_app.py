"""Celery, as its documentation advises for work that must not be lost: late acks, quorum queues."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from benchmarks.peers.work import AMQP, QUEUE, told, wait_at_gate, work_to_load, write

app = Celery("peers", broker=told(AMQP))
app.conf.update(
    task_queues=[Queue(told(QUEUE), durable=True, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=told(QUEUE),
    task_default_queue_type="quorum",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=10,
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
)


@app.task(name="take")
def take(message_id: str, runtime_id: str, text: str) -> None:
    """Write and commit one row; Celery acks afterwards."""
    write(message_id, runtime_id, text)


if __name__ == "__main__":
    for work in work_to_load():
        take.apply_async(work)
else:
    wait_at_gate()
