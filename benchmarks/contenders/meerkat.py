"""Contenders c and d: the worker as ``meerkat-worker run`` wires it, for 100 runtimes or for one.

Every message is decoded, looked up, decided by its runtime's driver, and committed with its
history. Activations, and the first run request of each runtime, are part of what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic, time_ns
from uuid import UUID

from benchmarks.assignment import Assignment, Moment, received, report
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


@dataclass(slots=True)
class Timing:
    """What has been measured so far. The worker hears of deliveries just after it acked them."""

    warming: int
    left: int
    began: Moment | None = None
    first: float = inf
    span: Moment | None = None
    latencies_ms: list[float] = field(default_factory=list)
    warm: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """The first activation follows the first delivery at once."""
        self.began = self.began or Moment.now()

    def take(self, items: Sequence[Item]) -> None:
        for item in items:
            assert item.disposition is Disposition.DONE, item.disposition
        if self.warming:
            self._warm_up(len(items))
            return
        self.first = min(self.first, items[0].delivery.received)
        now_ms = time_ns() / 1e6
        self.latencies_ms.extend(now_ms - _made_ms(item) for item in items)
        self.left -= len(items)
        if self.left == 0:
            assert self.began is not None
            self.span = Moment(monotonic() - self.first, self.began.passed().cpu_seconds)
            self.finished.set()

    def _warm_up(self, count: int) -> None:
        self.warming -= count
        if not self.warming:
            self.began = Moment.now()
            self.warm.set()


def _made_ms(item: Item) -> int:
    """When a message was made: the first 48 bits of its id."""
    return UUID(item.envelope.message_id).int >> 80


@dataclass(frozen=True, slots=True)
class Stopwatch(Observation):
    """The worker's own observation, which also measures."""

    timing: Timing

    def activated(self, runtime_id: RuntimeId, seconds: float) -> None:
        """Observe as always, and measure."""
        Observation.activated(self, runtime_id, seconds)
        self.timing.begin()

    def settled(self, runtime_id: RuntimeId, items: Sequence[Item]) -> None:
        """Observe as always, and measure."""
        Observation.settled(self, runtime_id, items)
        self.timing.take(items)


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
    timing = Timing(len(assignment.runtimes) if assignment.warm else 0, assignment.messages)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(connected(settings))
        worker = wire(settings, connections, Stopwatch(Metrics(), Health(), timing))
        await worker.declarer.shared()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            print("ready", flush=True)
            if assignment.warm:
                await timing.warm.wait()
                print("warm", flush=True)
            await timing.finished.wait()
            stop.set()
        await check(connections.store, assignment)
    assert timing.span is not None
    return timing.span, timing.latencies_ms


async def check(store: RuntimeStore, assignment: Assignment) -> None:
    """Each runtime must have admitted its share, and every input must be there."""
    found = [await store.read(runtime_id) for runtime_id in assignment.runtimes]
    admitted = sum(one.runtime.next_sequence for one in found if one is not None)
    active = sum(len(one.inputs) for one in found if one is not None)
    expected = assignment.messages + (len(assignment.runtimes) if assignment.warm else 0)
    assert admitted == active == expected, f"{admitted} admitted, {active} stored"


if __name__ == "__main__":
    log.configure(LogLevel.INFO, LogFormat.CONSOLE)
    told = received()
    span, latencies_ms = process.run(work(told))
    report(told.messages, span, latencies_ms)
