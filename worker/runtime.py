"""A runtime in a worker: takes deliveries, has the driver decide, commits, and only then acks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final, Protocol, assert_never
from uuid import UUID

import structlog

from schemas.dead_letters import DeadLetterReason
from schemas.ids import RuntimeId
from schemas.records import CorruptRecord, Known, OutboxMessage
from store.errors import StoreError
from store.ports import Commit, CommitResult
from worker.assembly import Assembled, Assembler
from worker.batch import Item, decide, lookup, opened
from worker.broker.delivery import Delivery
from worker.committer import Committer
from worker.disposition import Disposition
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import CorruptRuntimeError, recover
from worker.outbox import Outbox

log = structlog.get_logger()

MAX_FAILURES: Final = 3
"""Deliveries on which handling a message may fail before it becomes a dead letter."""


class RuntimeObserver(Protocol):
    """Who is told what became of deliveries: metrics and the log."""

    def settled(self, runtime_id: RuntimeId, items: Sequence[Item]) -> None:
        """Take note of deliveries that have just ended."""
        ...

    def activated(self, runtime_id: RuntimeId, seconds: float) -> None:
        """Take note of an activation."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the runtimes of a worker share. Clock, ids and jitter come from here only."""

    committer: Committer
    assembler: Assembler
    outbox: Outbox
    announce: Callable[[OutboxMessage], None]
    observer: RuntimeObserver
    options: DriverOptions
    worker_id: str
    max_message_bytes: int
    max_deliveries: int
    adopt_live_runs: bool
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    jitter: Callable[[], float]


class Runtime:
    """One runtime's actor: a batch at a time, so that memory is one batch ahead of the store.

    The driver in it is a cache. Whenever anything fails it is dropped, and the next batch begins
    with an activation from the store.
    """

    def __init__(self, runtime_id: RuntimeId, surroundings: Surroundings) -> None:
        self.runtime_id = runtime_id
        self.last_used = monotonic()
        self._around = surroundings
        self._waiting: list[Delivery] = []
        self._task: asyncio.Task[None] | None = None
        self._driver: Driver | None = None
        self._corrupt: tuple[CorruptRecord, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting or in flight."""
        return self._task is None

    @property
    def is_active(self) -> bool:
        """Whether it holds a driver in memory."""
        return self._driver is not None

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery; it will be settled, whatever happens."""
        self._waiting.append(delivery)
        if self._task is None:
            name = f"runtime {self.runtime_id}"
            self._task = asyncio.create_task(self._work(), name=name)

    async def _work(self) -> None:
        try:
            while self._waiting:
                most = self._around.max_deliveries
                batch, self._waiting = self._waiting[:most], self._waiting[most:]
                await self._settle(batch)
                self.last_used = monotonic()
        finally:
            self._task = None

    async def _settle(self, batch: Sequence[Delivery], *, isolated: bool = False) -> bool:
        """Bring every delivery of a batch to its end; False if they were given back.

        A message that fails while it is isolated, on a driver fresh from the store, is a culprit.
        """
        around = self._around
        now = around.clock()
        items = [opened(one, now=now, max_bytes=around.max_message_bytes) for one in batch]
        try:
            return await self._process(items, now, isolated=isolated)
        except StoreError as error:
            log.warning("runtime: giving back", runtime_id=self.runtime_id, why=str(error))
            return self._give_back(items, Disposition.RETURNED_UNAVAILABLE)
        except Exception as error:
            # Whatever it was, the store knows nothing of it: the driver goes, the batch is split.
            log.exception("runtime: failed", runtime_id=self.runtime_id, messages=len(items))
            why = type(error).__name__
            return await self._fail(items[0], why) if isolated else await self._isolate(items)

    async def _process(self, items: Sequence[Item], now: datetime, *, isolated: bool) -> bool:
        driver = await self._activated(now)
        if driver is None:
            return await self._bury(items, DeadLetterReason.CORRUPT_RECORD, _CORRUPT)
        assembled = await self._decided(driver, items, now)
        match await self._around.committer.commit(assembled.commit):
            case CommitResult.COMMITTED:
                return self._committed(items, assembled)
            case CommitResult.FENCED:
                log.warning(
                    "runtime: fenced", runtime_id=self.runtime_id, epoch=driver.runtime.epoch
                )
                return self._give_back(items, Disposition.RETURNED_FENCED)
            case CommitResult.FAILED if isolated:
                return await self._fail(items[0], "the database refuses the changes")
            case CommitResult.FAILED:
                return await self._isolate(items)
            case never:
                assert_never(never)

    async def _decided(self, driver: Driver, items: Sequence[Item], now: datetime) -> Assembled:
        around = self._around
        current = driver.runtime.current_run_id
        question = lookup(self.runtime_id, items, current)
        known = Known() if question is None else await around.committer.known(question)
        decide(driver, items, known, now=now, jitter=around.jitter())
        if driver.wants_run(now):
            driver.start_run(around.new_id(), now=now)
        return await around.assembler.assemble(
            self.runtime_id,
            driver.runtime.epoch,
            driver.take(),
            items,
            self._corrupt,
            now=now,
        )

    async def _activated(self, now: datetime) -> Driver | None:
        """Have a driver: the one in memory, or one recovered from the store.

        None if the store's records of the runtime contradict themselves; then nothing is touched.
        """
        if self._driver is not None:
            return self._driver
        around = self._around
        started = monotonic()
        stored = await around.committer.activate(self.runtime_id, owner=around.worker_id, now=now)
        try:
            recovered = recover(
                stored,
                now=now,
                options=around.options,
                adopt_live_runs=around.adopt_live_runs,
            )
        except CorruptRuntimeError as error:
            log.critical("runtime: corrupt", runtime_id=self.runtime_id, why=str(error))
            return None
        self._driver, self._corrupt = recovered.driver, stored.corrupt
        around.observer.activated(self.runtime_id, monotonic() - started)
        return self._driver

    def _committed(self, items: Sequence[Item], assembled: Assembled) -> bool:
        """Do what waits for the commit; acks come last."""
        self._corrupt = ()
        if assembled.rebuild:
            self._driver = None
        self._around.outbox.push(assembled.commit.outbox)
        for announcement in assembled.announcements:
            self._around.announce(announcement)
        return self._ack(items)

    def _ack(self, items: Sequence[Item]) -> bool:
        for item in items:
            item.delivery.ack()
        self._around.observer.settled(self.runtime_id, items)
        return True

    def _give_back(self, items: Sequence[Item], disposition: Disposition) -> bool:
        """Give back a batch, and all that came after it: what comes later must not go first."""
        self._driver = None
        waiting, self._waiting = self._waiting, []
        for item in items:
            item.disposition = disposition
            item.delivery.give_back()
        for delivery in waiting:
            delivery.give_back()
        self._around.observer.settled(self.runtime_id, items)
        return False

    async def _isolate(self, items: Sequence[Item]) -> bool:
        """Handle the messages of a failed batch one at a time, so that the culprit stands alone.

        One that failed alone is handled once more as well: a commit whose answer was lost is
        refused when it is tried again, for what it writes is there; the store knows better.
        """
        self._driver = None
        for place, item in enumerate(items):
            if not await self._settle([item.delivery], isolated=True):
                return self._give_back(items[place + 1 :], Disposition.RETURNED_FAILED)
        return True

    async def _fail(self, item: Item, why: str) -> bool:
        """Give back a message that cannot be handled; bury it when it has failed often enough."""
        self._driver = None
        deliveries = item.delivery.delivery_count + 1
        if deliveries < MAX_FAILURES:
            return self._give_back([item], Disposition.RETURNED_FAILED)
        detail = f"handling failed, on delivery {deliveries} too: {why}"
        return await self._bury([item], DeadLetterReason.DELIVERY_LIMIT, detail)

    async def _bury(self, items: Sequence[Item], reason: DeadLetterReason, detail: str) -> bool:
        """Make dead letters of messages, touching nothing of the runtime."""
        around = self._around
        for item in items:
            item.bury(reason, detail)
        letters = around.assembler.letters(self.runtime_id, items, now=around.clock())
        try:
            result = await around.committer.commit(Commit(None, 0, dead_letters=letters))
        except StoreError:
            return self._give_back(items, Disposition.RETURNED_UNAVAILABLE)
        if result is not CommitResult.COMMITTED:
            return self._give_back(items, Disposition.RETURNED_FAILED)
        return self._ack(items)


_CORRUPT: Final = "the store's records of this runtime contradict themselves: run verify"
