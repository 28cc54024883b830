"""A rig: one namespace on a real broker, with what feeds and drains it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from schemas.ids import RuntimeId
from tests.support.eventually import eventually
from worker.broker.connection import Connection
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.tally import Tally
from worker.broker.topology import Topology

RUNTIME = RuntimeId("agent-1")


@dataclass(slots=True)
class Hands:
    """Takes deliveries and holds them; settles them when told."""

    taken: list[Delivery] = field(default_factory=list)

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)

    @property
    def ids(self) -> list[str | None]:
        return [delivery.envelope.message_id for delivery in self.taken]

    def have(self, name: str) -> bool:
        return name in self.ids

    async def holding(self, count: int) -> "Hands":
        await eventually(lambda: len(self.taken) >= count, 15, f"{count} deliveries in hand")
        return self

    def ack_all(self) -> None:
        for delivery in self.taken:
            delivery.ack()


@dataclass(frozen=True, slots=True)
class Rig:
    link: Link
    topology: Topology
    publisher: Publisher

    @property
    def queue(self) -> str:
        return self.topology.queue_of(RUNTIME)

    async def connection(self) -> Connection:
        return await self.link.ready(deadline=30)

    async def declare(self, *runtimes: RuntimeId) -> None:
        channel = await (await self.connection()).channel()
        await self.topology.declare_shared(channel)
        for runtime_id in runtimes:
            await self.topology.declare_inbox(channel, runtime_id)
        await channel.close()

    async def publish(self, ids: Sequence[str], runtime_id: RuntimeId = RUNTIME) -> None:
        outcome = await self.publisher.publish_many(
            [message(self.topology, name, runtime_id) for name in ids]
        )
        assert outcome == [None] * len(ids)

    async def consume(
        self, hands: Hands, *, prefetch: int = 100, tally: Tally | None = None
    ) -> Consumer:
        connection = await self.connection()
        return await Consumer.open(
            connection, self.queue, hands.take, prefetch=prefetch, tally=tally
        )

    async def delete(self, queue: str) -> None:
        channel = await (await self.connection()).channel()
        await channel.queue_delete(queue)
        await channel.close()


def message(topology: Topology, name: str, runtime_id: str = RUNTIME) -> Outgoing:
    properties = {"message_id": name, "type": "input"}
    return Outgoing(topology.inbox, runtime_id, b"{}", properties)


@asynccontextmanager
async def rigged(url: str, topology: Topology, *runtimes: RuntimeId) -> AsyncIterator[Rig]:
    """Connect and declare; what was declared for runtimes is deleted afterwards."""
    async with Link(url, "test") as link, Publisher(link) as publisher:
        rig = Rig(link, topology, publisher)
        await rig.declare(*runtimes)
        yield rig
        shared = (topology.unrouted, topology.registrations, topology.dead)
        for queue in {*map(topology.queue_of, runtimes), *topology.shards, *shared}:
            await rig.delete(queue)
