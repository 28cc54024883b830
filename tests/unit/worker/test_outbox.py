"""The outbox tells of every try, and keeps what has not arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.records import OutboxMessage
from store.memory import MemoryStore
from tests.support.eventually import eventually
from tests.support.store import a_message, new_id
from worker.broker.errors import BrokerError, UnroutableError
from worker.committer import Committer
from worker.health import Health
from worker.metrics import Metrics
from worker.observation import Observation
from worker.outbox import Outbox


class Hesitant:
    """Has no queue for the first message it gets, and takes all later ones."""

    def __init__(self) -> None:
        self._refuses = True

    async def publish_many(
        self, messages: Sequence[OutboxMessage], *, mandatory: bool = True
    ) -> Sequence[BrokerError | None]:
        """Take them."""
        del mandatory
        refused, self._refuses = self._refuses, False
        taken: list[BrokerError | None] = [None] * len(messages)
        return [UnroutableError("no queue is bound for it"), *taken[1:]] if refused else taken


async def test_every_try_is_counted() -> None:
    """Of three rows one finds no queue, and is confirmed the second time."""
    metrics = Metrics()
    observation = Observation(metrics, Health())
    committer = Committer(MemoryStore(), grace=0, max_rows=100, observer=observation)
    repairs: list[str] = []

    async def repair() -> None:
        repairs.append("repaired")

    outbox = Outbox(
        Hesitant(), committer, must_arrive=lambda _: True, repair=repair, observer=observation
    )
    outbox.push([a_message(id=new_id()) for _ in range(3)])
    running = asyncio.create_task(outbox.run())
    await asyncio.wait_for(outbox.drained(), 10)
    running.cancel()
    await eventually(lambda: not outbox._retiring)
    assert repairs == ["repaired"]
    value = metrics.registry.get_sample_value
    assert value("meerkat_published_total", {"result": "confirmed"}) == 3
    assert value("meerkat_published_total", {"result": "unroutable"}) == 1
