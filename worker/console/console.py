"""The console's parts, as its pages share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from store.overview import Overviews
from store.ports import WorkerPresence
from store.sql import SqlStore
from worker.broker.topology import Layout, Topology
from worker.console.broker import Broker
from worker.console.bulk import BulkActs
from worker.console.rendering import Rendering
from worker.console.session import Keys
from worker.dead_letters.dry_run import Rehearsal
from worker.dead_letters.redrive import Redriver
from worker.settings import Settings
from worker.wiring import driver_options


@dataclass(frozen=True, slots=True)
class Console:
    """What every page may use.

    Attributes:
        clock: Tells the moment.
        new_id: Makes ids.
        worker_ttl: A worker that was silent for so long is taken for dead.
        cookie: The name of the session's cookie; cookies do not tell ports apart, so it does.
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
    cookie: str
    worker_ttl: timedelta

    def is_alive(self, worker: WorkerPresence) -> bool:
        """Tell whether a worker has said so lately."""
        return worker.heartbeat_at >= self.clock() - self.worker_ttl


def topology_of(settings: Settings) -> Topology:
    """Name what is on the broker."""
    return Topology(settings.namespace, Layout.parse(settings.layout))


def rehearsal_of(settings: Settings, store: SqlStore) -> Rehearsal:
    """Make a dry run as a worker of these settings would do it."""
    return Rehearsal(
        store, topology_of(settings), driver_options(settings), settings.max_message_bytes
    )
