"""Removal: inbox queues of destroyed runtimes, gone only when nothing can be lost with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from schemas.ids import RuntimeId
from store.sql import SqlStore
from worker.broker.declarer import Declarer
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.broker.topology import Topology

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Removal:
    """Takes the queues of destroyed runtimes away, one step a turn.

    First a queue is unbound: what is published from then on is unrouted, and refused from there.
    While messages wait in it, it is consumed, and they are refused. When it is empty, it is let go;
    when nobody consumes it either, and so nobody holds a message of it, it is deleted. Quorum
    queues refuse the broker's own ``if-empty`` and ``if-unused``.
    """

    store: SqlStore
    link: Link
    topology: Topology
    declarer: Declarer

    async def turn(self, condemned: Sequence[RuntimeId]) -> Mapping[str, RuntimeId]:
        """Take one step for each; answers the queues that are still to be consumed."""
        wanted: dict[str, RuntimeId] = {}
        gone: list[RuntimeId] = []
        for runtime_id in condemned:
            await self.declarer.unbind(runtime_id)
            if self.topology.shards or await self._is_gone(runtime_id, wanted):
                gone.append(runtime_id)
        await self.store.upkeep.queue_gone(gone)
        return wanted

    async def _is_gone(self, runtime_id: RuntimeId, wanted: dict[str, RuntimeId]) -> bool:
        queue = self.topology.queue_of(runtime_id)
        facts = await queue_facts(await self.link.ready(), queue)
        if facts is None:
            return True
        if facts.ready:
            wanted[queue] = runtime_id
            return False
        if facts.consumers:
            return False
        await self.declarer.delete(queue)
        log.info("removal: queue deleted", runtime_id=runtime_id, queue=queue)
        return True
