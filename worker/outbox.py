"""The outbox: publishes what commits decided, with confirms, and sweeps what a dead worker left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from schemas.records import OutboxMessage
from store.errors import StoreUnavailableError
from store.ports import Commit, RuntimeStore
from worker.broker.backoff import Backoff
from worker.broker.errors import BrokerError, UnroutableError
from worker.committer import Committer

log = structlog.get_logger()


class Publishes(Protocol):
    """What is asked of a publisher: a result for each message, in order; None is success."""

    async def publish_many(
        self, messages: Sequence[OutboxMessage], *, mandatory: bool = True
    ) -> Sequence[BrokerError | None]:
        """Publish with confirms, in order."""
        ...


class OutboxObserver(Protocol):
    """Who is told what became of publishing: metrics."""

    def published(self, confirmed: int, failures: Sequence[BrokerError]) -> None:
        """Take note of rows that were tried: how many the broker has, and what failed."""
        ...


class Outbox:
    """Rows that are committed and not yet confirmed.

    A row is published at once after its commit and deleted with a later one. What cannot be
    published stays here and is tried again; what this process does not live to publish is found by
    ``unpublished`` of the store.

    Args:
        publisher: How to publish.
        committer: How rows are deleted.
        must_arrive: Whether a row must reach a queue (a run request); others have nobody to miss
            them when their reader has left (a completion, a signal, an event).
        repair: Declares what such a row should have reached.
        observer: Told of every try.
        most: Rows published at once.
    """

    def __init__(
        self,
        publisher: Publishes,
        committer: Committer,
        *,
        must_arrive: Callable[[OutboxMessage], bool],
        repair: Callable[[], Awaitable[None]],
        observer: OutboxObserver,
        most: int = 500,
    ) -> None:
        self._publisher = publisher
        self._committer = committer
        self._must_arrive = must_arrive
        self._repair = repair
        self._observer = observer
        self._most = most
        self._pending: dict[UUID, OutboxMessage] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def push(self, messages: Sequence[OutboxMessage]) -> None:
        """Publish committed rows; what is here already is not taken twice."""
        for message in messages:
            self._pending.setdefault(message.id, message)
        if self._pending:
            self._arrived.set()
            self._empty.clear()

    @property
    def oldest(self) -> datetime | None:
        """When the oldest row that is not yet confirmed was created."""
        return next((message.created_at for message in self._pending.values()), None)

    async def drained(self) -> None:
        """Wait until every row is confirmed."""
        await self._empty.wait()

    async def run(self) -> None:
        """Publish for ever."""
        backoff = Backoff()
        while True:
            await self._arrived.wait()
            if await self._publish():
                backoff.reset()
            else:
                await asyncio.sleep(backoff.delay())

    async def _publish(self) -> bool:
        batch = list(self._pending.values())[: self._most]
        must = [row for row in batch if self._must_arrive(row)]
        may = [row for row in batch if not self._must_arrive(row)]
        failures = [
            *await self._send(must, mandatory=True),
            *await self._send(may, mandatory=False),
        ]
        if not self._pending:
            self._arrived.clear()
            self._empty.set()
        if any(isinstance(failure, UnroutableError) for failure in failures):
            await self._repair()
        return not failures

    async def _send(self, rows: Sequence[OutboxMessage], *, mandatory: bool) -> list[BrokerError]:
        """Publish rows and forget those that were confirmed; answers what went wrong."""
        if not rows:
            return []
        results = await self._publisher.publish_many(rows, mandatory=mandatory)
        self._forget([row.id for row, fault in zip(rows, results, strict=True) if fault is None])
        failures = [fault for fault in results if fault is not None]
        self._observer.published(len(rows) - len(failures), failures)
        if failures:
            log.warning("outbox: again later", rows=len(failures), why=str(failures[0]))
        return failures

    def _forget(self, confirmed: Sequence[UUID]) -> None:
        if not confirmed:
            return
        for row_id in confirmed:
            del self._pending[row_id]
        # Not awaited: the next rows need not wait for this deletion's commit.
        task = asyncio.create_task(self._retire(confirmed), name="outbox-retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, confirmed: Sequence[UUID]) -> None:
        """Delete rows; should the database be away, a sweep publishes them once more: harmless."""
        part = Commit(runtime_id=None, epoch=0, published=tuple(confirmed))
        try:
            await self._committer.commit(part)
        except StoreUnavailableError as error:
            log.warning("outbox: confirmed rows stay", rows=len(confirmed), why=str(error))


async def sweep(
    store: RuntimeStore, outbox: Outbox, *, now: datetime, grace: timedelta, limit: int = 500
) -> int:
    """Publish rows older than the grace: their worker is gone, or could not. Answers how many."""
    rows = await store.unpublished(before=now - grace, limit=limit)
    outbox.push(rows)
    return len(rows)
