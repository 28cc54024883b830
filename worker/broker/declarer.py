"""The declarer: declares what a process needs on the broker, over whatever connection there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiormq import Channel

from schemas.ids import RuntimeId
from worker.broker.link import Link
from worker.broker.topology import Topology


@dataclass(frozen=True, slots=True)
class Declarer:
    """Declares on a channel of its own each time: a clash closes the channel, and only that one."""

    link: Link
    topology: Topology
    pool: str

    async def shared(self) -> None:
        """Declare all that belongs to no single runtime, and the pool that runs go to."""
        await self._on_channel(self.topology.declare_shared)
        await self._on_channel(lambda channel: self.topology.declare_pool(channel, self.pool))

    async def inbox(self, runtime_id: RuntimeId) -> None:
        """Declare a runtime's inbox."""
        await self._on_channel(lambda channel: self.topology.declare_inbox(channel, runtime_id))

    async def unbind(self, runtime_id: RuntimeId) -> None:
        """Route nothing more to a runtime's inbox; unbinding it again changes nothing."""
        queue = self.topology.queue_of(runtime_id)
        await self._on_channel(
            lambda channel: channel.queue_unbind(queue, self.topology.inbox, runtime_id)
        )

    async def delete(self, queue: str) -> None:
        """Delete a queue and all that is in it."""
        await self._on_channel(lambda channel: channel.queue_delete(queue))

    async def _on_channel(self, declare: Callable[[Channel], Awaitable[object]]) -> None:
        connection = await self.link.ready()
        channel = await connection.channel()
        try:
            await declare(channel)
        finally:
            if not channel.is_closed:
                await channel.close()
