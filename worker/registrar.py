"""The registrar: writes down runtimes that publishers name, and routes what nobody declared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from schemas.envelope import Envelope, decode_registration
from schemas.errors import MalformedError
from schemas.ids import RuntimeId, runtime_id
from schemas.lifecycle import RuntimeState
from schemas.records import OutboxMessage
from store.errors import StoreError
from store.gather import Gather
from store.sql import SqlStore
from worker.broker.delivery import Delivery
from worker.broker.errors import BrokerError
from worker.broker.topology import Topology
from worker.burial import Burial
from worker.committer import Committer
from worker.outbox import Publishes

log = structlog.get_logger()


@dataclass(slots=True)
class Registrar:
    """Takes deliveries of the registrations queue and of the unrouted queue.

    Attributes:
        declare: Declares a runtime's inbox.
        registered: Told the runtimes that are new, so that somebody consumes their queues.
        refuse: Settles a message for a runtime that is destroyed.
    """

    store: SqlStore
    committer: Committer
    publisher: Publishes
    topology: Topology
    burial: Burial
    declare: Callable[[RuntimeId], Awaitable[None]]
    registered: Callable[[Sequence[RuntimeId]], None]
    refuse: Callable[[RuntimeId, Delivery], None]
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _unrouted: list[Delivery] = field(default_factory=list)
    _moving: asyncio.Task[None] | None = None
    _registrations: Gather[RuntimeId, None] = field(init=False)

    def __post_init__(self) -> None:
        self._registrations = Gather(self._register)

    def deliver_registration(self, delivery: Delivery) -> None:
        """Take a notice that a runtime exists."""
        task = asyncio.create_task(self._note(delivery), name="registration")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def deliver_unrouted(self, delivery: Delivery) -> None:
        """Take a message for a runtime that nobody declared; moved one by one, in order."""
        self._unrouted.append(delivery)
        if self._moving is None:
            self._moving = asyncio.create_task(self._move_all(), name="unrouted")

    async def _note(self, delivery: Delivery) -> None:
        try:
            notice = decode_registration(delivery.envelope)
        except MalformedError as fault:
            await self.burial.bury(delivery, str(fault))
            return
        try:
            await self._registrations.submit(RuntimeId(notice.runtime_id))
        except StoreError as error:
            log.warning("registration: giving back", why=str(error))
            delivery.give_back()
            return
        delivery.ack()

    async def _register(self, runtime_ids: Sequence[RuntimeId]) -> Sequence[None]:
        unique = list(dict.fromkeys(runtime_ids))
        new = await self.committer.patiently(lambda: self.store.register(unique, now=self.clock()))
        if new:
            self.registered(new)
        await self._condemn_again([name for name in unique if name not in new])
        return [None] * len(runtime_ids)

    async def _condemn_again(self, known: Sequence[RuntimeId]) -> None:
        """Have the queue seen to that a publisher has just declared for a destroyed runtime."""
        if known:
            await self.committer.patiently(lambda: self.store.upkeep.queue_back(known))

    async def _move_all(self) -> None:
        try:
            while self._unrouted:
                await self._move(self._unrouted.pop(0))
        finally:
            self._moving = None

    async def _move(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        try:
            name = runtime_id(envelope.routing_key)
        except ValueError as fault:
            await self.burial.bury(delivery, f"routing_key: {fault}")
            return
        try:
            if await self._is_destroyed(name):
                self.refuse(name, delivery)
                return
            await self._registrations.submit(name)
            await self.declare(name)
            [failure] = await self.publisher.publish_many([self._again(name, envelope)])
            if failure is not None:
                raise failure
        except (StoreError, BrokerError) as error:
            log.warning("unrouted: giving back", runtime_id=name, why=str(error))
            delivery.give_back()
        else:
            delivery.ack()

    async def _is_destroyed(self, name: RuntimeId) -> bool:
        stored = await self.committer.patiently(lambda: self.store.read(name))
        return stored is not None and stored.runtime.state is RuntimeState.DESTROYED

    def _again(self, name: RuntimeId, envelope: Envelope) -> OutboxMessage:
        given: dict[str, Any] = {
            "message_id": envelope.message_id,
            "type": envelope.type,
            "content_type": envelope.content_type,
            "reply_to": envelope.reply_to,
            "correlation_id": envelope.correlation_id,
            "headers": dict(envelope.headers),
        }
        return OutboxMessage(
            id=self.new_id(),
            runtime_id=name,
            exchange=self.topology.inbox,
            routing_key=name,
            properties={key: value for key, value in given.items() if value is not None},
            body=envelope.body,
            created_at=self.clock(),
        )
