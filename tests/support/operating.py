"""What an operator does with dead letters, without a command line in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from store.dead_letters import Letter, LetterFilter
from store.sql import SqlStore
from tests.support.deployment import Deployment
from worker.broker.connection import Connection
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Topology
from worker.clock import new_id, now
from worker.dead_letters.dry_run import DryRun, Rehearsal
from worker.dead_letters.edit import edited
from worker.dead_letters.redrive import Progress, Redriver
from worker.driver.options import DriverOptions

MAX_BYTES = 1024 * 1024
_ANY = LetterFilter(status=None)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of one deployment."""

    url: str
    store: SqlStore
    publisher: Publisher
    topology: Topology
    redriver: Redriver

    async def letter(self) -> Letter:
        """The one letter there is."""
        page = await self.store.dead_letters.letters(_ANY)
        [letter] = page.items
        return letter

    async def redrive(self, letter: Letter) -> Progress:
        """Redrive a letter as it is."""
        return await self.redriver.redrive([letter.id], who="ada", note="the cause is gone")

    async def edit(self, letter: Letter, after: bytes) -> Progress:
        """Redrive a letter with another body."""
        found = await self.store.dead_letters.get(letter.id)
        assert found is not None
        edit = edited(*found, after, now=now(), max_message_bytes=MAX_BYTES)
        return await self.redriver.redrive([letter.id], who="ada", note="a typo", edit=edit)

    async def dry_run(self, letter: Letter, body: bytes | None = None) -> DryRun:
        """Try a letter dry."""
        found = await self.store.dead_letters.get(letter.id)
        assert found is not None
        rehearsal = Rehearsal(self.store, self.topology, DriverOptions(), MAX_BYTES)
        return await rehearsal.letter(
            found[0], found[1] if body is None else body, now=now(), run_id=new_id()
        )

    async def send(self, routing_key: str, body: bytes, **properties: Any) -> None:  # noqa: ANN401
        """Publish anything to the inboxes."""
        await self.publisher.publish(
            Outgoing(self.topology.inbox, routing_key, body, {"type": "input", **properties})
        )


@asynccontextmanager
async def operating(deployment: Deployment, store: SqlStore) -> AsyncIterator[Operator]:
    """Declare what is shared, and connect an operator."""
    topology = Topology(deployment.namespace)
    connection = await Connection.open(deployment.amqp_url, "test")
    await topology.declare_shared(await connection.channel())
    await topology.declare_pool(await connection.channel())
    await connection.close()
    async with Link(deployment.amqp_url, "operator") as link, Publisher(link) as publisher:
        redriver = Redriver(store, publisher, topology, now, new_id)
        yield Operator(deployment.amqp_url, store, publisher, topology, redriver)
