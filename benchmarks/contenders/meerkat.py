"""Contenders c and d: the worker as ``meerkat-worker run`` wires it, for 100 runtimes or for one.

Every message is decoded, looked up, decided by its runtime's driver, and committed with its
history. Activations, and the first run request of each runtime, are part of what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.assignment import Assignment, Moment, received, report
from benchmarks.contenders.timing import Timing
from schemas.ids import RuntimeId
from store.ports import RuntimeStore
from worker import log, process
from worker.batch import Item
from worker.disposition import Disposition
from worker.health import Health
from worker.metrics import Metrics
from worker.observation import Observation
from worker.settings import LogFormat, LogLevel, Settings
from worker.wiring import connected, wire


@dataclass(frozen=True, slots=True)
class Stopwatch(Observation):
    """The worker's own observation, which also measures."""

    timing: Timing

    def activated(self, runtime_id: RuntimeId, seconds: float) -> None:
        """Observe as always; the first activation follows the first delivery at once."""
        Observation.activated(self, runtime_id, seconds)
        self.timing.begin()

    def settled(self, runtime_id: RuntimeId, items: Sequence[Item]) -> None:
        """Observe as always, and measure."""
        Observation.settled(self, runtime_id, items)
        for item in items:
            assert item.disposition is Disposition.DONE, item.disposition
        self.timing.received(items[0].delivery.received)
        self.timing.acked(item.envelope.message_id for item in items)


def settings_of(assignment: Assignment) -> Settings:
    """The worker's defaults, on this assignment's broker and database."""
    return Settings(
        amqp_url=assignment.url,
        database_url=f"sqlite+aiosqlite:///{assignment.database}",
        blobs=str(Path(assignment.database).parent / "blobs"),
        namespace=assignment.namespace,
        health_port=0,
    )


async def work(assignment: Assignment) -> tuple[Moment, list[float]]:
    """Run a worker until it has settled every message; answers the span and the latencies."""
    settings = settings_of(assignment)
    timing = Timing.of(assignment)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(connected(settings))
        worker = wire(settings, connections, Stopwatch(Metrics(), Health(), timing))
        await worker.declarer.shared()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            span = await timing.work(assignment)
            stop.set()
        await check(connections.store, assignment)
    return span, timing.latencies_ms


async def check(store: RuntimeStore, assignment: Assignment) -> None:
    """Each runtime must have admitted its share, and every input must be there."""
    found = [await store.read(runtime_id) for runtime_id in assignment.runtimes]
    admitted = sum(one.runtime.next_sequence for one in found if one is not None)
    active = sum(len(one.inputs) for one in found if one is not None)
    assert admitted == active == assignment.total, f"{admitted} admitted, {active} stored"


if __name__ == "__main__":
    log.configure(LogLevel.INFO, LogFormat.CONSOLE)
    told = received()
    span, latencies_ms = process.run(work(told))
    report(told.messages, span, latencies_ms)
