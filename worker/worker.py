"""The worker: what one process does from its first delivery to its last ack."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final

import structlog

from store.errors import StoreError
from store.ports import RuntimeStore
from worker.broker.announcements import Announcements
from worker.broker.declarer import Declarer
from worker.broker.errors import BrokerError
from worker.broker.publisher import Publisher
from worker.broker.subscriptions import Subscriptions
from worker.clock import new_id, now
from worker.committer import Committer
from worker.health import Health
from worker.housekeeping import Housekeeping
from worker.loops import repeat
from worker.metrics import Metrics, raise_to
from worker.outbox import Outbox, sweep
from worker.placement import Placement
from worker.runtimes import Runtimes
from worker.settings import Settings
from worker.timers import fire

log = structlog.get_logger()

OUTBOX_GRACE: Final = timedelta(seconds=5)
"""Rows older than this belong to a worker that is gone or cannot publish: anyone may."""

TIMER_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 2.0
REQUEST_SECONDS: Final = 5.0
RETENTION_SECONDS: Final = 60.0
BLOB_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything that one worker process does, on parts that are wired already."""

    settings: Settings
    store: RuntimeStore
    committer: Committer
    publisher: Publisher
    announcements: Announcements
    subscriptions: Subscriptions
    declarer: Declarer
    outbox: Outbox
    runtimes: Runtimes
    housekeeping: Housekeeping
    placement: Placement
    metrics: Metrics
    health: Health

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then finish what is in flight.

        A loop that fails for a reason that is nobody's absence ends the process.
        """
        async with (
            self.publisher,
            self.announcements,
            self.subscriptions,
            asyncio.TaskGroup() as group,
        ):
            loops = [group.create_task(loop, name=name) for name, loop in self._loops().items()]
            self.health.up("worker")
            log.info("worker: running", worker_id=self.settings.worker_id)
            await stop.wait()
            await self._drain()
            for loop in loops:
                loop.cancel()

    def _loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        beat = self.settings.worker_heartbeat
        nudge = self.placement.nudge
        return {
            "outbox": self.outbox.run(),
            "placement": repeat(self.placement.turn, name="placement", seconds=beat, nudge=nudge),
            "timers": repeat(self._fire, name="timers", seconds=TIMER_SECONDS),
            "sweep": repeat(self._sweep, name="sweep", seconds=SWEEP_SECONDS),
            "requests": repeat(
                self.housekeeping.request_again, name="requests", seconds=REQUEST_SECONDS
            ),
            "retention": repeat(
                self.housekeeping.forget_the_old, name="retention", seconds=RETENTION_SECONDS
            ),
            "blobs": repeat(
                self.housekeeping.sweep_blobs, name="blobs", seconds=BLOB_SECONDS, delay=True
            ),
            "database": self._watch_database(),
        }

    async def _fire(self) -> None:
        topology = self.declarer.topology
        fired = await fire(self.store, self.publisher, topology, now=now(), new_id=new_id)
        for one in fired:
            self.metrics.timers_fired.labels(one.timer.kind.value).inc()

    async def _sweep(self) -> None:
        """Publish what was left behind, forget what is idle, and measure."""
        await sweep(self.store, self.outbox, now=now(), grace=OUTBOX_GRACE)
        passivated = self.runtimes.passivate()
        if passivated:
            self.metrics.passivations.labels("idle").inc(passivated)
        self._measure()

    def _measure(self) -> None:
        taking, metrics = self.subscriptions, self.metrics
        metrics.active_runtimes.set(len(self.runtimes))
        metrics.queues_live.set(len(taking.live))
        metrics.open_deliveries.set(taking.open_deliveries)
        metrics.oldest_delivery_seconds.set(monotonic() - (taking.oldest_open or monotonic()))
        decided = self.outbox.oldest
        metrics.outbox_age_seconds.set((now() - decided).total_seconds() if decided else 0)
        raise_to(metrics.lost_acks, taking.tally.lost_acks)
        raise_to(metrics.queues_redeclared, taking.tally.repaired)

    async def _watch_database(self) -> None:
        """Stop consuming when deliveries had to be given back; go on when the database answers."""
        while True:
            await self.committer.gave_up.wait()
            self.subscriptions.pause()
            log.error("database away: consuming stopped", grace=self.settings.database_grace)
            await self._until_database_answers()
            self.committer.gave_up.clear()
            self.subscriptions.resume()
            log.info("database back: consuming")

    async def _until_database_answers(self) -> None:
        while True:
            try:
                await self.committer.patiently(self.store.workers)
            except StoreError:
                continue
            return

    async def _drain(self) -> None:
        """Stop taking, finish what was taken, publish what was decided, and say goodbye."""
        self.health.draining("worker")
        log.info("draining", seconds=self.settings.drain_seconds)
        with contextlib.suppress(TimeoutError, StoreError, BrokerError):
            async with asyncio.timeout(self.settings.drain_seconds):
                await self.subscriptions.release_all()
                await self.outbox.drained()
                await self.placement.leave()
