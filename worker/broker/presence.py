"""Presence: a worker's sign of life at the broker, gone the moment its connection is gone."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity

from worker.broker.connection import Connection
from worker.broker.errors import BrokerError, translated
from worker.broker.link import Link
from worker.broker.topology import Topology

RPC_SECONDS: Final = 5.0


class Presence:
    """An exclusive queue named after the worker.

    Only the broker can take it away, and it does so as soon as it notices that the connection is
    gone, long before a heartbeat row looks old.
    """

    def __init__(self, link: Link, topology: Topology) -> None:
        self._link = link
        self._topology = topology

    async def show(self, worker_id: str) -> None:
        """Declare our queue on the connection as it is now; doing so again changes nothing."""
        connection = await self._link.ready(deadline=RPC_SECONDS)
        channel = await connection.channel()
        # Locked: the broker has not yet noticed that our last connection is gone.
        with translated("cannot show presence"), suppress(ChannelLockedResource):
            await channel.queue_declare(
                self._topology.presence(worker_id), exclusive=True, timeout=RPC_SECONDS
            )
            await channel.close()

    async def is_connected(self, worker_id: str) -> bool:
        """Ask the broker whether a worker is connected; it counts as such if none can say."""
        try:
            connection = await self._link.ready(deadline=RPC_SECONDS)
            return await self._is_declared(connection, self._topology.presence(worker_id))
        except BrokerError:
            return True

    @staticmethod
    async def _is_declared(connection: Connection, queue: str) -> bool:
        channel = await connection.channel()
        with translated("cannot ask for presence"):
            try:
                await channel.queue_declare(queue, passive=True, timeout=RPC_SECONDS)
            except ChannelNotFoundEntity:
                return False
            except ChannelLockedResource:
                return True
            await channel.close()
        return True
