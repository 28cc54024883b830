"""The console's parts, as its pages share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from store.overview import Overviews
from store.ports import WorkerPresence
from store.sql import SqlStore
from worker.console.broker import Broker
from worker.console.bulk import BulkActs
from worker.console.rendering import Rendering
from worker.console.session import Keys
from worker.dead_letters.dry_run import Rehearsal
from worker.dead_letters.redrive import Redriver


@dataclass(frozen=True, slots=True)
class Console:
    """What every page may use.

    Attributes:
        clock: Tells the moment.
        new_id: Makes ids.
        operator: Who acts, if they do not say who they are.
        cookie: The name of the session's cookie; cookies do not tell ports apart, so it does.
        worker_ttl: A worker that was silent for so long is taken for dead.
        max_message_bytes: The largest body that a worker takes.
    """

    store: SqlStore
    overviews: Overviews
    broker: Broker
    redriver: Redriver
    rehearsal: Rehearsal
    acts: BulkActs
    keys: Keys
    rendering: Rendering
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    operator: str
    cookie: str
    worker_ttl: timedelta
    max_message_bytes: int

    def is_alive(self, worker: WorkerPresence) -> bool:
        """Tell whether a worker has said so lately."""
        return worker.heartbeat_at >= self.clock() - self.worker_ttl
