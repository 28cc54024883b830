"""The service: takes runs from a pool, performs them side by side, puts them down at the end."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Final, assert_never

import structlog

from schemas.envelope import Envelope, Signal, decode_run_request
from schemas.ids import RunId
from schemas.runs import SignalKind
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.broker.topology import Topology
from worker.execution.errors import LeaseLostError
from worker.execution.intake import Intake
from worker.execution.lease import Lease
from worker.execution.performance import Function, Performance
from worker.execution.reporter import Reporter
from worker.execution.run import Run
from worker.execution.signals import Signals
from worker.execution.snapshot import Snapshots

CLEAN_UP_SECONDS: Final = 5.0
"""How long a function that is stopped for a shutdown may take to clean up."""

HANDS: Final = 4
"""Runs begun at once: each waits for the broker to confirm its start."""

REMEMBERED: Final = 1000
"""Runs that were performed here and are recognised when their request comes again."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms runs are performed; durations in seconds."""

    function: Function
    pool: str
    concurrency: int
    cancel_grace: float
    drain_seconds: float


class Service:
    """Performs runs until it is told to stop.

    Args:
        terms: What to run, how many at once.
        topology: The names.
        consuming: The connection to take requests and signals on.
        publisher: Tells runtimes what happens; on a connection of its own, because a broker under
            an alarm blocks the connections that publish.
        snapshots: Loads and keeps session snapshots.
    """

    def __init__(
        self,
        terms: Terms,
        topology: Topology,
        *,
        consuming: Link,
        publisher: Publisher,
        snapshots: Snapshots,
    ) -> None:
        self._terms = terms
        self._topology = topology
        self._publisher = publisher
        self._snapshots = snapshots
        self._slots = asyncio.Semaphore(terms.concurrency)
        self._held: dict[RunId, Performance] = {}
        self._performed: OrderedDict[RunId, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals = Signals(consuming, topology, self._on_signal)
        self._intake = Intake(consuming, topology, terms.pool, self._slots, self._begin)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until the event is set, then finish or hand back what is under way.

        Cancelled, it leaves at once; the leases of its runs will pass.
        """
        listening = asyncio.create_task(self._signals.listen(), name="signals")
        taking = [
            asyncio.create_task(self._intake.take(), name="intake")
            for _ in range(min(HANDS, self._terms.concurrency))
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({listening, *taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await _put_down(*taking)
            await self._drain()
            _raise_failure(listening, *taking)
        finally:
            await _put_down(listening, *taking, stopping, *self._tasks)

    async def _drain(self) -> None:
        if not self._tasks:
            return
        log.info("executor.draining", runs=len(self._tasks))
        await asyncio.wait(self._tasks, timeout=self._terms.drain_seconds)
        for performance in self._held.values():
            performance.hand_back()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLEAN_UP_SECONDS)

    async def _begin(self, taken: Envelope) -> bool:
        """Say that a run has begun and perform it in a task of its own.

        A request that comes again, because its ack was lost, is only to be acked.
        """
        request = decode_run_request(taken)
        if request.run_id in self._performed or request.run_id in self._held:
            return False
        lease = Lease(request.lease_seconds)
        reporter = Reporter(self._publisher, self._topology, request, lease=lease, taken=taken)
        run = Run(request, report=reporter.report, lease=lease, snapshots=self._snapshots)
        performance = Performance(run, lease, reporter.report, self._terms.cancel_grace)
        self._held[run.run_id] = performance
        try:
            await self._signals.hold(run.runtime_id)
            await reporter.start()
        except BaseException:
            await self._let_go(run)
            raise
        self._remember(run.run_id)
        task = asyncio.create_task(self._perform(performance), name=f"run {run.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _perform(self, performance: Performance) -> None:
        run = performance.run
        said = log.bind(run_id=str(run.run_id), runtime_id=run.runtime_id, attempt=run.attempt)
        began = monotonic()
        try:
            ending = await performance.perform(self._terms.function)
            said.info("run", ended=type(ending).__name__, seconds=round(monotonic() - began, 3))
        except LeaseLostError as error:
            said.warning("run", ended="LeaseLost", reason=str(error))
        except Exception:  # noqa: BLE001 - the top of this actor; the lease ends the run
            said.exception("run", ended="error")
        finally:
            self._slots.release()
            await self._let_go(run)

    async def _let_go(self, run: Run) -> None:
        del self._held[run.run_id]
        await self._signals.release(run.runtime_id)

    def _remember(self, run_id: RunId) -> None:
        self._performed[run_id] = None
        if len(self._performed) > REMEMBERED:
            self._performed.popitem(last=False)

    def _on_signal(self, signal: Signal) -> None:
        performance = self._held.get(signal.run_id)
        if performance is None:
            return
        log.info("signal", signal=signal.signal.value, run_id=str(signal.run_id))
        match signal.signal:
            case SignalKind.CANCEL_RUN:
                performance.cancel()
            case SignalKind.INTERRUPT:
                performance.interrupt()
            case _:
                assert_never(signal.signal)


def _raise_failure(*tasks: asyncio.Task[None]) -> None:
    """Raise what ended a task that was to go on for ever."""
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()


async def _put_down(*tasks: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
