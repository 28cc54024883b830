"""Runtimes of a worker: found by id, created at their first delivery, forgotten when idle."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from schemas.ids import RuntimeId
from worker.broker.delivery import Delivery
from worker.runtime import Runtime, Surroundings


class Runtimes:
    """The runtimes that this worker has in memory, least recently used first.

    Args:
        surroundings: What they share.
        most: How many stay in memory.
        idle_seconds: How long one stays without a delivery.
    """

    def __init__(self, surroundings: Surroundings, *, most: int, idle_seconds: float) -> None:
        self._surroundings = surroundings
        self._most = most
        self._idle_seconds = idle_seconds
        self._runtimes: OrderedDict[RuntimeId, Runtime] = OrderedDict()

    def __len__(self) -> int:
        """How many runtimes are in memory."""
        return len(self._runtimes)

    def deliver(self, runtime_id: RuntimeId, delivery: Delivery) -> None:
        """Hand a delivery to its runtime."""
        runtime = self._runtimes.get(runtime_id)
        if runtime is None:
            self._make_room()
            runtime = self._runtimes[runtime_id] = Runtime(runtime_id, self._surroundings)
        else:
            self._runtimes.move_to_end(runtime_id)
        runtime.deliver(delivery)

    def passivate(self) -> int:
        """Forget runtimes that have been idle for long; answers how many."""
        horizon = monotonic() - self._idle_seconds
        gone = []
        for runtime_id, runtime in self._runtimes.items():
            if runtime.last_used > horizon:
                break
            if runtime.is_idle:
                gone.append(runtime_id)
        for runtime_id in gone:
            del self._runtimes[runtime_id]
        return len(gone)

    def _make_room(self) -> None:
        """Forget the least recently used idle runtime when there are too many.

        A busy one is never dropped: the bound gives way for as long as all are busy.
        """
        if len(self._runtimes) < self._most:
            return
        idle = next((rid for rid, one in self._runtimes.items() if one.is_idle), None)
        if idle is not None:
            del self._runtimes[idle]
