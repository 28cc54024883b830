"""Wiring: from settings to a worker whose parts know each other."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from store.blobs import open_blobs
from store.open import open_store
from store.ports import BlobStore
from store.retention import Windows
from store.sql import SqlStore
from worker.assembly import Assembler
from worker.assignment import Membership
from worker.broker.announcements import Announcements
from worker.broker.declarer import Declarer
from worker.broker.link import Link
from worker.broker.links import Links
from worker.broker.presence import Presence
from worker.broker.publisher import Publisher
from worker.broker.subscriptions import Subscriptions
from worker.broker.topology import Layout, Topology, require_version
from worker.burial import Burial
from worker.clock import new_id, now
from worker.committer import Committer
from worker.dead_letters.collect import Collector
from worker.dispatch import Dispatch
from worker.driver.options import DriverOptions
from worker.driver.policy import DEFAULT_POLICY, load_policy
from worker.housekeeping import Housekeeping
from worker.metrics import Metrics
from worker.observation import Observation
from worker.outbox import Outbox
from worker.placement import Placement
from worker.registrar import Registrar
from worker.removal import Removal
from worker.runtime import Surroundings
from worker.runtimes import Runtimes
from worker.settings import Events, Settings
from worker.worker import Worker

CONNECT_SECONDS: Final = 10.0
RECEIPTS_KEPT: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Connections:
    """What a worker talks to, open: the database, the blobs, and the broker twice."""

    store: SqlStore
    blobs: BlobStore
    consuming: Link
    publishing: Link


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, *, lost: Callable[[], object] = lambda: None
) -> AsyncIterator[Connections]:
    """Open everything that a worker talks to, checking each: a fault is one clear error.

    Args:
        settings: Where everything is.
        lost: Called each time that a connection to the broker is lost.

    Raises:
        SchemaError: The database has not been migrated.
        StoreError: The database or the blob store cannot be reached.
        BrokerError: The broker cannot be reached, or is too old.
    """
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(settings.database_url)
        stack.push_async_callback(store.close)
        blobs = open_blobs(settings.blobs)
        await blobs.prepare()
        stack.push_async_callback(blobs.close)
        consuming = await stack.enter_async_context(_link(settings, "consume", lost))
        publishing = await stack.enter_async_context(_link(settings, "publish", lost))
        connection = await consuming.ready(deadline=CONNECT_SECONDS)
        require_version(connection.version)
        await publishing.ready(deadline=CONNECT_SECONDS)
        yield Connections(store, blobs, consuming, publishing)


def _link(settings: Settings, purpose: str, lost: Callable[[], object]) -> Link:
    return Link(settings.amqp_url, f"meerkat-worker {settings.worker_id} {purpose}", lost=lost)


def wire(settings: Settings, connections: Connections, observation: Observation) -> Worker:
    """Put a worker together on open connections."""
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    publisher = Publisher(connections.publishing)
    dropped = observation.metrics.events_dropped.inc
    announcements = Announcements(connections.publishing, dropped=dropped)
    declarer = Declarer(connections.publishing, topology, settings.pool)
    committer = Committer(
        connections.store,
        grace=settings.database_grace,
        max_rows=settings.commit_max_rows,
        observer=observation,
    )
    outbox = Outbox(
        publisher,
        committer,
        must_arrive=lambda row: row.exchange == topology.runs,
        repair=declarer.shared,
        observer=observation,
    )
    assembler = _assembler(settings, connections.blobs, committer, topology)
    surroundings = _surroundings(settings, committer, assembler, outbox, announcements, observation)
    runtimes = Runtimes(
        surroundings, most=settings.max_active_runtimes, idle_seconds=settings.passivate_after
    )
    burial = Burial(committer, now, new_id)
    collector = Collector(burial, topology, now, new_id)
    nudge = asyncio.Event()
    registrar = Registrar(
        store=connections.store,
        committer=committer,
        publisher=publisher,
        topology=topology,
        burial=burial,
        declare=declarer.inbox,
        registered=lambda _: nudge.set(),
        refuse=runtimes.deliver,
        clock=now,
        new_id=new_id,
    )
    subscriptions = Subscriptions(
        Links(connections.consuming),
        topology,
        prefetch=settings.prefetch,
        on_delivery=Dispatch(topology, runtimes, registrar, burial, collector).deliver,
        on_lag=observation.lag,
    )
    return Worker(
        settings=settings,
        store=connections.store,
        committer=committer,
        publisher=publisher,
        announcements=announcements,
        subscriptions=subscriptions,
        declarer=declarer,
        outbox=outbox,
        runtimes=runtimes,
        housekeeping=_housekeeping(settings, connections, topology, publisher),
        placement=_placement(
            settings, connections, declarer, subscriptions, observation.metrics, nudge
        ),
        metrics=observation.metrics,
        health=observation.health,
    )


def _assembler(
    settings: Settings, blobs: BlobStore, committer: Committer, topology: Topology
) -> Assembler:
    return Assembler(
        reads=committer,
        blobs=blobs,
        topology=topology,
        pool=settings.pool,
        lease_seconds=settings.lease_seconds,
        inline_snapshot_bytes=settings.inline_snapshot_bytes,
        durable_events=settings.events is Events.OUTBOX,
        new_id=new_id,
    )


def _surroundings(
    settings: Settings,
    committer: Committer,
    assembler: Assembler,
    outbox: Outbox,
    announcements: Announcements,
    observation: Observation,
) -> Surroundings:
    return Surroundings(
        committer=committer,
        assembler=assembler,
        outbox=outbox,
        announce=announcements.announce,
        observer=observation,
        options=driver_options(settings),
        worker_id=settings.worker_id,
        max_message_bytes=settings.max_message_bytes,
        max_deliveries=settings.prefetch,
        adopt_live_runs=settings.adopt_live_runs,
        clock=now,
        new_id=new_id,
        jitter=random.random,
    )


def _housekeeping(
    settings: Settings, connections: Connections, topology: Topology, publisher: Publisher
) -> Housekeeping:
    return Housekeeping(
        store=connections.store,
        blobs=connections.blobs,
        link=connections.publishing,
        publisher=publisher,
        topology=topology,
        pool=settings.pool,
        windows=_windows(settings),
        request_patience=timedelta(seconds=settings.request_seconds),
    )


def _windows(settings: Settings) -> Windows:
    """Receipts are kept at least as long as the inputs that they prove."""
    inputs = timedelta(seconds=settings.dedupe_window)
    return Windows(inputs=inputs, receipts=max(inputs, RECEIPTS_KEPT))


def _placement(
    settings: Settings,
    connections: Connections,
    declarer: Declarer,
    subscriptions: Subscriptions,
    metrics: Metrics,
    nudge: asyncio.Event,
) -> Placement:
    topology = declarer.topology
    presence = Presence(connections.consuming, topology)
    return Placement(
        store=connections.store,
        topology=topology,
        presence=presence,
        membership=Membership(
            me=settings.worker_id,
            late=settings.worker_heartbeat * 1.5,
            ttl=settings.worker_ttl,
            is_connected=presence.is_connected,
        ),
        subscriptions=subscriptions,
        removal=Removal(connections.store, connections.publishing, topology, declarer),
        metrics=metrics,
        started_at=now(),
        clock=now,
        nudge=nudge,
    )


def driver_options(settings: Settings) -> DriverOptions:
    """Read what the driver is told, the policy file included."""
    policy = DEFAULT_POLICY
    if settings.policy_file is not None:
        policy = load_policy(Path(settings.policy_file).read_text(encoding="utf-8"))
    return DriverOptions(
        policy=policy,
        max_batch=settings.max_batch,
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
        request_seconds=settings.request_seconds,
        backoff_base=settings.backoff_base,
        backoff_cap=settings.backoff_cap,
        announce=settings.events is not Events.OFF,
    )
