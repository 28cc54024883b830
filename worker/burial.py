"""Burial: dead letters of messages that no runtime can take, because they name none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog

from schemas.dead_letters import DeadLetterReason
from store.errors import StoreError
from store.ports import Commit
from worker.broker.delivery import Delivery
from worker.committer import Committer
from worker.letters import letter

log = structlog.get_logger()


@dataclass(slots=True)
class Burial:
    """Keeps such messages, commit then ack."""

    committer: Committer
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def deliver(self, delivery: Delivery, detail: str) -> None:
        """Take a delivery; it will be settled."""
        task = asyncio.create_task(self.bury(delivery, detail), name="burial")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def bury(self, delivery: Delivery, detail: str) -> None:
        """Make a dead letter of a malformed message and ack it, or give it back."""
        kept = letter(
            delivery.envelope,
            letter_id=self.new_id(),
            runtime_id=None,
            source_queue=delivery.queue,
            cause=(DeadLetterReason.MALFORMED, detail),
            at=self.clock(),
        )
        try:
            await self.committer.commit(Commit(None, 0, dead_letters=(kept,)))
        except StoreError as error:
            log.warning("burial: giving back", queue=delivery.queue, why=str(error))
            delivery.give_back()
            return
        log.warning("message", queue=delivery.queue, disposition="dead_letter", detail=detail)
        delivery.ack()
