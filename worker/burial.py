"""Burial: dead letters of messages that no runtime can take, because they name none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from schemas.dead_letters import DeadLetter, DeadLetterReason
from store.errors import StoreError
from store.ports import Commit, CommitResult
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
        self.begin(self.bury(delivery, detail))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a burial go on while the next delivery comes."""
        task = asyncio.create_task(work, name="burial")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def bury(self, delivery: Delivery, detail: str) -> None:
        """Make a dead letter of a malformed message and ack it, or give it back."""
        malformed = letter(
            delivery.envelope,
            letter_id=self.new_id(),
            runtime_id=None,
            source_queue=delivery.queue,
            cause=(DeadLetterReason.MALFORMED, detail),
            at=self.clock(),
        )
        await self.keep(delivery, malformed)

    async def keep(self, delivery: Delivery, kept: DeadLetter) -> None:
        """Commit the dead letter of a delivery and ack it, or give it back."""
        try:
            result = await self.committer.commit(Commit(None, 0, dead_letters=(kept,)))
            why = "the database refuses the dead letter"
        except StoreError as error:
            result, why = CommitResult.FAILED, str(error)
        if result is not CommitResult.COMMITTED:
            log.warning("burial: giving back", queue=delivery.queue, why=why)
            delivery.give_back()
            return
        log.warning(
            "message",
            queue=delivery.queue,
            disposition="dead_letter",
            reason=kept.reason.value,
            detail=kept.detail,
        )
        delivery.ack()
