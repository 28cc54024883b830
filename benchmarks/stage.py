"""A stage: one contender's queues and database, made before it and removed after it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec

from benchmarks.assignment import Assignment, Result
from benchmarks.messages import prompts, runtime_ids
from store import migrations
from store.open import open_store
from worker.broker.connection import Connection
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.clock import now

ROOT: Final = Path(__file__).parent.parent
CHUNK: Final = 2_000
LOAD_SECONDS: Final = 60.0
CONTENDER_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A broker to publish on, and the contender's assignment."""

    publisher: Publisher
    assignment: Assignment

    async def load(self) -> None:
        """Put every message into its queue, confirmed."""
        told = self.assignment
        messages = prompts(told.topology, told.runtimes, told.messages)
        while chunk := list(islice(messages, CHUNK)):
            await self.publish(chunk)

    async def publish(self, messages: Iterable[Outgoing]) -> None:
        """Publish with confirms; any failure ends the benchmark."""
        results = await self.publisher.publish_many(list(messages), deadline=LOAD_SECONDS)
        for fault in filter(None, results):
            raise fault

    async def _wake(self) -> None:
        told = self.assignment
        await self.publish(prompts(told.topology, told.runtimes, len(told.runtimes)))

    async def perform(
        self, module: str, *, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> Result:
        """Run a contender in a fresh process until it has reported.

        What is to be done ``meanwhile`` begins when the contender says that it is ready; where
        runtimes are to be warm, when they are.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, msgspec.json.encode(self.assignment).decode()),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CONTENDER_SECONDS):
                if meanwhile is not None and process.stdout is not None:
                    await process.stdout.readline()
                    if self.assignment.warm:
                        await self._wake()
                        await process.stdout.readline()
                    await meanwhile()
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, f"{module} ended with {process.returncode}"
        return msgspec.json.decode(out.splitlines()[-1], type=Result)


@asynccontextmanager
async def stage(
    url: str, *, runtimes: int, messages: int, warm: bool = False
) -> AsyncIterator[Stage]:
    """Make a namespace, a database and the queues of so many runtimes."""
    with tempfile.TemporaryDirectory(prefix="meerkat-bench-") as directory:
        namespace, database = f"b{token_hex(6)}", f"{directory}/inbox.db"
        told = Assignment(url, namespace, runtime_ids(runtimes), messages, database, warm)
        await _migrated(told)
        async with Link(url, "benchmark") as link, Publisher(link) as publisher:
            connection = await link.ready(deadline=10)
            queues = await _declared(connection, told)
            yield Stage(publisher, told)
            await _removed(connection, queues)


async def _migrated(told: Assignment) -> None:
    address = f"sqlite+aiosqlite:///{told.database}"
    await asyncio.to_thread(migrations.upgrade, address)
    store = await open_store(address)
    await store.register(told.runtimes, now=now())
    await store.close()


async def _declared(connection: Connection, told: Assignment) -> list[str]:
    topology = told.topology
    channel = await connection.channel()
    await topology.declare_shared(channel)
    await topology.declare_pool(channel)
    for runtime_id in told.runtimes:
        await topology.declare_inbox(channel, runtime_id)
    await channel.close()
    shared = [topology.unrouted, topology.registrations, topology.dead]
    inboxes = [topology.queue_of(runtime_id) for runtime_id in told.runtimes]
    return [*shared, topology.pool_queue("default"), *inboxes]


async def _removed(connection: Connection, queues: Iterable[str]) -> None:
    channel = await connection.channel()
    for queue in queues:
        await channel.queue_delete(queue)
    await channel.close()
