"""A rig: real worker processes on queues and a database, watched from outside.

The workers are ``meerkat-worker run``, with nothing inside them that measures: what they did is
read from the database, as an operator would.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec
from sqlalchemy import text

from benchmarks.messages import prompts, runtime_ids
from schemas.envelope import MessageType, Registration
from schemas.ids import RuntimeId
from schemas.ids import runtime_id as named
from store.ports import WorkerPresence
from store.sql import SqlStore
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from worker.broker.connection import Connection
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Layout, Topology
from worker.clock import new_id, now

CHUNK: Final = 2_000
LOAD_SECONDS: Final = 60.0
NUDGES: Final = 4
CHANNELS: Final = 8
"""Declaring over more channels than this goes no faster."""

START_SECONDS: Final = 60.0
WORK_SECONDS: Final = 240.0
LOG_SHOWN: Final = 4_000
SUMMED_A_SECOND: Final = 200_000
FRESH: Final = timedelta(seconds=3)
DECOYS: Final = 32
"""Runtimes without messages, by which workers show that they have shared out the queues."""


@dataclass(frozen=True, slots=True)
class Rig:
    """Runtimes with their queues, a database, and how to look at both.

    Attributes:
        runtimes: Those that get the messages. They are declared; ``register`` opens them.
    """

    deployment: Deployment
    topology: Topology
    runtimes: tuple[RuntimeId, ...]
    store: SqlStore
    publisher: Publisher
    connection: Connection

    async def load(self, messages: int) -> None:
        """Put so many prompts into the queues of the runtimes in turn, confirmed."""
        waiting = prompts(self.topology, self.runtimes, messages)
        while chunk := list(islice(waiting, CHUNK)):
            await self.publish(chunk)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish with confirms; any failure ends the benchmark."""
        for fault in await self.publisher.publish_many(messages, deadline=LOAD_SECONDS):
            if fault is not None:
                raise fault

    async def register(self) -> None:
        """Make the runtimes known in the store: workers that run begin to take their queues."""
        await self.store.register(self.runtimes, now=now())

    async def nudge(self) -> None:
        """Have all workers look at once what is registered, and not each at its next heartbeat.

        They do when they hear of a new runtime, and notices of some go to them in turn.
        """
        new = [named(f"nudge-{number}") for number in range(NUDGES)]
        await declare(self.connection, self.topology, new)
        await self.publish([_notice(self.topology, one) for one in new])

    async def share_out(self, workers: int) -> None:
        """Wait until so many workers see each other: each queue of some decoys has one of them."""
        decoys = [named(f"decoy-{number}") for number in range(DECOYS)]
        await declare(self.connection, self.topology, decoys)
        await self.store.register(decoys, now=now())
        queues = {self.topology.queue_of(decoy) for decoy in decoys}
        await eventually(
            lambda: self._are_shared_out(queues, workers), START_SECONDS, "workers share the queues"
        )

    async def _are_shared_out(self, queues: set[str], workers: int) -> bool:
        held = [queues.intersection(one.queues) for one in await self.alive()]
        takers = Counter(queue for taken in held for queue in taken)
        once = len(takers) == len(queues) and set(takers.values()) == {1}
        return once and sum(map(bool, held)) == workers

    async def alive(self) -> list[WorkerPresence]:
        """Workers whose heartbeat is fresh: one that was killed stays on the list."""
        fresh = now() - FRESH
        return [one for one in await self.store.workers() if one.heartbeat_at > fresh]

    async def admitted(self) -> int:
        """How many inputs the runtimes have admitted, ever."""
        return int(await self.value("SELECT coalesce(sum(next_sequence), 0) FROM runtimes") or 0)

    async def until_admitted(self, total: int) -> datetime:
        """Wait until so many inputs are admitted; answers when that was seen."""

        async def all_admitted() -> bool:
            # To sum up many runtimes takes a while, which the worker could use.
            await asyncio.sleep(len(self.runtimes) / SUMMED_A_SECOND)
            return await self.admitted() >= total

        await eventually(all_admitted, WORK_SECONDS, f"{total} inputs admitted")
        return now()

    async def check(self, messages: int, *, past: int = 0) -> None:
        """Every message must have become one input that waits, and nothing else."""
        waiting = await self.value("SELECT count(*) FROM inputs WHERE active")
        buried = await self.value("SELECT count(*) FROM dead_letters")
        admitted = await self.admitted() - past
        assert admitted == waiting == messages, f"{admitted} admitted, {waiting} waiting"
        assert buried == 0, f"{buried} dead letters"

    async def began(self, *, after: int = 0) -> datetime:
        """When a worker took the first of the inputs that wait in hand.

        Args:
            after: Leave out so many of each runtime: those of an earlier part.
        """
        query = "SELECT min(created_at) FROM inputs WHERE active AND sequence >= :after"
        found = await self.value(query, after=after)
        return found if isinstance(found, datetime) else datetime.fromisoformat(found)

    async def last_commit(self) -> datetime:
        """When the last of the inputs that wait was committed, by PostgreSQL's own clock."""
        query = "SELECT max(pg_xact_commit_timestamp(xmin)) FROM inputs WHERE active"
        found: datetime = await self.value(query)
        return found

    async def value(self, query: str, **arguments: object) -> Any:  # noqa: ANN401 - SQL's
        """The one value that a query answers."""
        async with self.store.database.reading() as connection:
            return (await connection.execute(text(query), arguments)).scalar_one()

    async def values(self, query: str, **arguments: object) -> list[Any]:
        """The values of the one column that a query answers."""
        async with self.store.database.reading() as connection:
            return list((await connection.execute(text(query), arguments)).scalars())


@asynccontextmanager
async def rig(
    amqp_url: str,
    database_url: str | None = None,
    *,
    runtimes: int,
    layout: str = "per-runtime",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Rig]:
    """Make a namespace, a migrated database and the queues of so many runtimes.

    Args:
        amqp_url: The broker.
        database_url: The database; without it a new SQLite file.
        runtimes: How many.
        layout: How their inboxes are laid out on queues.
        settings: Further ``MEERKAT_*`` variables of the workers, without their prefix.
    """
    with tempfile.TemporaryDirectory(prefix="meerkat-bench-") as directory:
        file = f"sqlite+aiosqlite:///{directory}/inbox.db"
        deployment = Deployment(
            Path(directory),
            amqp_url,
            f"b{token_hex(6)}",
            database_url or file,
            layout=layout,
            settings={"LOG_LEVEL": "warning", **(settings or {})},
        )
        await deployment.migrate()
        topology = Topology(deployment.namespace, Layout.parse(layout))
        ids = runtime_ids(runtimes)
        async with (
            deployment.store() as store,
            Link(amqp_url, "benchmark") as link,
            Publisher(link) as publisher,
        ):
            connection = await link.ready(deadline=10)
            channel = await connection.channel()
            await topology.declare_shared(channel)
            await topology.declare_pool(channel)
            await channel.close()
            await declare(connection, topology, ids)
            try:
                yield Rig(deployment, topology, ids, store, publisher, connection)
            except AssertionError:
                print(deployment.log("worker")[-LOG_SHOWN:])  # It goes with the directory.
                raise
            await _remove(connection, topology, await store.runtime_ids())


async def declare(
    connection: Connection, topology: Topology, runtimes: Sequence[RuntimeId]
) -> None:
    """Declare inboxes, over some channels at once."""

    async def some(mine: Sequence[RuntimeId]) -> None:
        channel = await connection.channel()
        for one in mine:
            if topology.shards:  # They are there; a binding that is not waited for costs half.
                await channel.queue_bind(topology.queue_of(one), topology.inbox, one, nowait=True)
            else:
                await topology.declare_inbox(channel, one)
        # The broker answers in order: what was not waited for is there now.
        await topology.declare_inbox(channel, mine[-1])
        await channel.close()

    lanes = (runtimes[lane::CHANNELS] for lane in range(CHANNELS))
    await asyncio.gather(*(some(lane) for lane in lanes if lane))


async def _remove(
    connection: Connection, topology: Topology, runtimes: Iterable[RuntimeId]
) -> None:
    """Remove queues: even empty ones would keep the broker busy in the next round."""
    shared = (topology.unrouted, topology.registrations, topology.dead)
    inboxes = {topology.queue_of(one) for one in runtimes}
    channel = await connection.channel()
    for queue in (*shared, topology.pool_queue("default"), *inboxes):
        await channel.queue_delete(queue)
    await channel.close()


def _notice(topology: Topology, runtime: RuntimeId) -> Outgoing:
    return Outgoing(
        "",
        topology.registrations,
        msgspec.json.encode(Registration(runtime)),
        {"message_id": str(new_id()), "type": MessageType.REGISTRATION.value},
    )
