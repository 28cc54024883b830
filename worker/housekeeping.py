"""Housekeeping: what is done now and then, by any worker, for the store and the pool as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from schemas.commands import Wake
from schemas.envelope import MessageType
from schemas.ids import RuntimeId
from schemas.records import OutboxMessage
from store.blobs import sweep_orphans
from store.ports import BlobStore
from store.retention import Windows
from store.sql import SqlStore
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.broker.topology import Topology
from worker.clock import new_id, now
from worker.outbox import Publishes
from worker.timers import to_inbox

log = structlog.get_logger()

ORPHAN_GRACE: Final = timedelta(days=1)
"""A blob that nothing refers to after this time was put for a commit that never came."""

REQUESTS: Final = 100
"""Runs that are requested again in one go."""


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Chores. Each is harmless when two workers do it at once."""

    store: SqlStore
    blobs: BlobStore
    link: Link
    publisher: Publishes
    topology: Topology
    pool: str
    windows: Windows
    request_patience: timedelta

    async def forget_the_old(self) -> None:
        """Delete what is over and older than its window, step by step."""
        while (deleted := await self.store.retention.step(self.windows, now=now())).more:
            log.debug("retention", inputs=deleted.inputs, receipts=deleted.receipts)

    async def sweep_blobs(self) -> None:
        """Delete blobs of commits that never came."""
        gone = await sweep_orphans(
            self.blobs, self.store.references.among, grace=ORPHAN_GRACE, now=now()
        )
        if gone:
            log.info("blobs: orphans deleted", count=len(gone))

    async def request_again(self) -> None:
        """Wake runtimes whose run request has vanished from the pool.

        A request waits in the pool for as long as executors are busy. But when one is old and the
        pool's queue is empty, it is lost: a quorum queue can lose what it held in its first second.
        """
        horizon = now() - self.request_patience
        waiting = await self.store.upkeep.waiting_requests(before=horizon, limit=REQUESTS)
        if not waiting or not await self._pool_is_empty():
            return
        log.warning("runs: requested again", runtimes=len(waiting), pool=self.pool)
        await self.publisher.publish_many([self._wake(runtime_id) for runtime_id in waiting])

    async def _pool_is_empty(self) -> bool:
        queue = self.topology.pool_queue(self.pool)
        facts = await queue_facts(await self.link.ready(), queue)
        return facts is None or facts.ready == 0

    def _wake(self, runtime_id: RuntimeId) -> OutboxMessage:
        command = Wake(new_id())
        return to_inbox(
            self.topology,
            runtime_id,
            MessageType.COMMAND,
            command,
            message_id=command.command_id,
            now=now(),
        )
