"""Introductions: a runtime is made known before the first message is published to it."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from aiormq import Channel
from uuid_utils.compat import uuid7

from schemas.envelope import MessageType, Registration
from schemas.ids import RuntimeId
from worker.broker.connection import Connection
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Topology

AT_ONCE: Final = 8
"""Declaring over more channels than this goes no faster."""


class Introductions:
    """Declares inboxes and registers runtimes: once for each runtime and connection.

    A new connection may be one to a broker that was rebuilt, so all is introduced again on it.
    """

    def __init__(self, link: Link, publisher: Publisher, topology: Topology) -> None:
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._known: dict[RuntimeId, asyncio.Task[None]] = {}
        self._channels: list[Channel] = []
        self._shared: Connection | None = None
        self._sharing = asyncio.Lock()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        link.observe(self._on_link)

    async def introduce(self, runtime_id: RuntimeId) -> None:
        """Return once the runtime's inbox is there and the workers will hear of the runtime.

        Raises:
            BrokerError: It could not be done; the next call tries again.
        """
        task = self._known.get(runtime_id)
        if task is None:
            task = asyncio.create_task(self._introduce(runtime_id), name=f"introduce {runtime_id}")
            self._known[runtime_id] = task
            task.add_done_callback(lambda done: self._forget_failed(runtime_id, done))
        await asyncio.shield(task)

    def forget(self, runtime_id: RuntimeId) -> None:
        """Introduce the runtime again next time."""
        self._known.pop(runtime_id, None)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for task in self._known.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_link(self, _connection: Connection | None) -> None:
        self._known = {known: task for known, task in self._known.items() if not task.done()}
        self._channels.clear()

    def _forget_failed(self, runtime_id: RuntimeId, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.forget(runtime_id)

    async def _introduce(self, runtime_id: RuntimeId) -> None:
        async with self._at_once:
            connection = await self._link.ready()
            await self._declare_shared(connection)
            channel = await self._take(connection)
            await self._topology.declare_inbox(channel, runtime_id)
            self._channels.append(channel)
            await self._publisher.publish(self._registration(runtime_id))

    async def _declare_shared(self, connection: Connection) -> None:
        async with self._sharing:
            if self._shared is connection:
                return
            channel = await self._take(connection)
            await self._topology.declare_shared(channel)
            self._channels.append(channel)
            self._shared = connection

    async def _take(self, connection: Connection) -> Channel:
        """Take a channel that is free; one that an error closed is not put back."""
        while self._channels:
            channel = self._channels.pop()
            if not channel.is_closed:
                return channel
        return await connection.channel()

    def _registration(self, runtime_id: RuntimeId) -> Outgoing:
        return Outgoing(
            exchange="",
            routing_key=self._topology.registrations,
            body=msgspec.json.encode(Registration(runtime_id)),
            properties={"message_id": str(uuid7()), "type": MessageType.REGISTRATION.value},
        )
