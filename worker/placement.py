"""Placement: says that this worker is alive, sees who else is, and wants its share of queues."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.ids import RuntimeId
from store.ports import WorkerPresence
from store.sql import SqlStore
from worker.assignment import Membership, assigned
from worker.broker.presence import Presence
from worker.broker.subscriptions import Subscriptions
from worker.broker.topology import Topology
from worker.metrics import Metrics
from worker.removal import Removal


@dataclass(slots=True)
class Placement:
    """One turn compares desired with live: what is registered, who is alive, what is consumed.

    Attributes:
        nudge: Set by whoever knows of a change, to have the next turn at once.
    """

    store: SqlStore
    topology: Topology
    presence: Presence
    membership: Membership
    subscriptions: Subscriptions
    removal: Removal
    metrics: Metrics
    started_at: datetime
    clock: Callable[[], datetime]
    nudge: asyncio.Event = field(default_factory=asyncio.Event)

    async def turn(self) -> None:
        """Beat, look, and want."""
        me = self.membership.me
        await self.presence.show(me)
        await self.store.heartbeat(
            WorkerPresence(
                worker_id=me,
                host=socket.gethostname(),
                started_at=self.started_at,
                heartbeat_at=self.clock(),
                queues=tuple(sorted(self.subscriptions.live)),
            )
        )
        alive = await self.membership.alive(await self.store.workers())
        inboxes = await self._inboxes()
        mine = assigned(inboxes, alive, me)
        leaving = await self._leaving(alive)
        topology = self.topology
        shared = dict.fromkeys((topology.registrations, topology.unrouted, topology.dead))
        self.subscriptions.want({**shared, **{queue: inboxes[queue] for queue in mine}, **leaving})
        self.metrics.workers_alive.set(len(alive))
        self.metrics.queues_desired.set(len(mine))

    async def leave(self) -> None:
        """Say goodbye, so that others need not wait to notice."""
        await self.store.forget_worker(self.membership.me)

    async def _leaving(self, alive: Collection[str]) -> Mapping[str, RuntimeId]:
        """Queues of destroyed runtimes that are still to be emptied, by me."""
        condemned = await self.store.upkeep.condemned()
        mine = assigned(condemned, alive, self.membership.me)
        return await self.removal.turn([one for one in condemned if one in mine])

    async def _inboxes(self) -> Mapping[str, RuntimeId | None]:
        """Every inbox queue there should be; a shard belongs to no single runtime."""
        if self.topology.shards:
            return dict.fromkeys(self.topology.shards)
        ids = await self.store.runtime_ids()
        return {self.topology.queue_of(runtime_id): runtime_id for runtime_id in ids}
