"""Assignment: which queues are this worker's, by rendezvous hash over the workers that are alive.

Placement may be wrong for a while and nothing breaks: single active consumer keeps a straggler from
receiving beside the new owner, and the epoch makes a straggler's commit fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from time import monotonic

from store.ports import WorkerPresence


def weight(queue: str, worker_id: str) -> bytes:
    """Weigh a worker for a queue; the heaviest takes it. Spread evenly, and stable."""
    return blake2b(f"{queue}\0{worker_id}".encode(), digest_size=8).digest()


def assigned(queues: Iterable[str], workers: Iterable[str], me: str) -> frozenset[str]:
    """Name the queues that rank ``me`` first among workers; all of them if I am alone."""
    others = [worker for worker in workers if worker != me]
    return frozenset(
        queue
        for queue in queues
        if all(weight(queue, me) > weight(queue, other) for other in others)
    )


@dataclass(slots=True)
class _Sighting:
    heartbeat_at: datetime
    seen: float


@dataclass(slots=True)
class Membership:
    """Who is alive, judged by what changes and not by anybody's clock.

    A worker whose heartbeat keeps changing is alive. One whose heartbeat is late is asked for at
    the broker, which knows at once when a process is gone; one that is late for ``ttl`` seconds
    counts as dead, whatever the broker says.

    Attributes:
        me: This worker.
        late: Seconds without a new heartbeat after which the broker is asked.
        ttl: Seconds without a new heartbeat after which a worker is dead.
        is_connected: Asks the broker whether a worker is connected to it.
    """

    me: str
    late: float
    ttl: float
    is_connected: Callable[[str], Awaitable[bool]]
    _sightings: dict[str, _Sighting] = field(default_factory=dict)

    async def alive(self, workers: Iterable[WorkerPresence]) -> frozenset[str]:
        """Name the workers that are alive; this one is."""
        now = monotonic()
        listed = {worker.worker_id: worker for worker in workers}
        self._note(listed, now)
        return frozenset(
            {self.me, *[one for one in listed if one != self.me and await self._lives(one, now)]}
        )

    async def _lives(self, worker_id: str, now: float) -> bool:
        silent = now - self._sightings[worker_id].seen
        if silent > self.ttl:
            return False
        return silent < self.late or await self.is_connected(worker_id)

    def _note(self, listed: Mapping[str, WorkerPresence], now: float) -> None:
        for gone in self._sightings.keys() - listed.keys():
            del self._sightings[gone]
        for worker_id, presence in listed.items():
            sighting = self._sightings.get(worker_id)
            if sighting is None or sighting.heartbeat_at != presence.heartbeat_at:
                # A first sighting is not yet a sign of life: it is late until its heartbeat moves.
                seen = now if sighting else now - self.late
                self._sightings[worker_id] = _Sighting(presence.heartbeat_at, seen)
