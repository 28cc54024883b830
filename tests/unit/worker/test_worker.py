"""What a worker's parts count for themselves comes to its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.records import OutboxMessage, Timer, TimerKind
from store import migrations
from store.blobs.memory import MemoryBlobStore
from store.memory import MemoryStore
from store.open import open_store
from store.ports import DueTimer
from tests.support.store import ALPHA, BETA, NOW, new_id
from worker.broker.errors import BrokerError, PublishFailedError
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.health import Health
from worker.metrics import Metrics
from worker.observation import Observation
from worker.settings import Settings
from worker.wiring import Connections, wire
from worker.worker import Worker

LEASE = Timer(TimerKind.RUN_LEASE, NOW, new_id())
RETRY = Timer(TimerKind.RETRY, NOW)


class Due(MemoryStore):
    """Has timers that are due."""

    async def fire_timers(self, **_: Any) -> list[DueTimer]:  # noqa: ANN401 - whatever is asked
        return [DueTimer(ALPHA, RETRY), DueTimer(ALPHA, LEASE), DueTimer(BETA, LEASE)]


class Last:
    """Fails to publish the last message."""

    async def publish_many(
        self, messages: Sequence[OutboxMessage], *, mandatory: bool = True
    ) -> Sequence[BrokerError | None]:
        """Take all but one."""
        del mandatory
        return [*[None for _ in messages[1:]], PublishFailedError("not confirmed")]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker that has not begun, and has no broker."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
    await migrations.migrate(url)
    store = await open_store(url)
    link = Link("amqp://nowhere.invalid/", "test")
    connections = Connections(store, MemoryBlobStore(), link, link)
    yield wire(Settings(), connections, Observation(Metrics(), Health()))
    await store.close()


def sample(worker: Worker, name: str, **labels: str) -> float | None:
    return worker.metrics.registry.get_sample_value(f"meerkat_{name}_total", labels)


async def test_what_consumers_tally_is_counted_once(worker: Worker) -> None:
    """Measuring again adds what has come since, and nothing twice."""
    tally = worker.subscriptions.tally
    tally.lost_acks, tally.repaired = 3, 1
    worker._measure()
    tally.lost_acks += 2
    worker._measure()
    worker._measure()
    assert sample(worker, "lost_acks") == 5
    assert sample(worker, "queues_redeclared") == 1


async def test_timers_are_counted_once_their_message_is_out(worker: Worker) -> None:
    """One that could not be published will fire later, here or elsewhere."""
    hasty = dataclasses.replace(worker, store=Due(), publisher=cast("Publisher", Last()))
    await hasty._fire()
    assert sample(worker, "timers_fired", kind="retry") == 1
    assert sample(worker, "timers_fired", kind="run_lease") == 1


async def test_the_parts_are_wired_to_the_metrics(worker: Worker) -> None:
    """The outbox and the subscriptions report to the worker's own observation."""
    worker.subscriptions._on_lag("ada", 3)
    worker.outbox._observer.published(2, [])
    assert worker.metrics.registry.get_sample_value("meerkat_queue_lag", {"queue": "ada"}) == 3
    assert sample(worker, "published", result="confirmed") == 2
