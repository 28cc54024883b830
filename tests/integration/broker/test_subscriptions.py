"""Subscriptions: what is wanted is consumed, whatever is done to queues and connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from time import monotonic

import pytest

from schemas.ids import RuntimeId
from tests.integration.broker.rig import RUNTIME, Hands, Rig, message, rigged
from tests.support.eventually import eventually
from worker.broker.delivery import Delivery
from worker.broker.errors import BrokerError
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.broker.links import Links
from worker.broker.subscriptions import Subscriptions
from worker.broker.tally import Ended
from worker.broker.topology import Layout, Topology
from worker.sandbox import RabbitMQ
from worker.sandbox.proxy import Proxy

pytestmark = pytest.mark.rabbitmq


class Acks(Hands):
    """Hands that let go at once."""

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)
        delivery.ack()


@asynccontextmanager
async def subscribed(
    rig: Rig,
    url: str,
    take: Callable[[Delivery], None],
    *runtimes: RuntimeId,
    on_lag: Callable[[str, int | None], None] = lambda *_: None,
    channels: int = 1_000,
    check_seconds: float = 5.0,
) -> AsyncIterator[Subscriptions]:
    """Subscriptions on a connection of their own, with all of these runtimes wanted and live."""
    wanted = {rig.topology.queue_of(one): one for one in runtimes or (RUNTIME,)}
    async with (
        Link(url, "subscriptions") as link,
        Subscriptions(
            Links(link, channels=channels),
            rig.topology,
            prefetch=10,
            on_delivery=take,
            on_lag=on_lag,
            check_seconds=check_seconds,
        ) as subscriptions,
    ):
        subscriptions.want(wanted)
        await live(subscriptions, *wanted)
        yield subscriptions


async def live(subscriptions: Subscriptions, *queues: str) -> None:
    await eventually(lambda: subscriptions.live == set(queues), 60, "the wanted queues are live")


async def test_missing_inbox_is_declared(amqp_url: str, namespace: str) -> None:
    """An inbox that is wanted but not there is declared, routed to, and consumed."""
    async with rigged(amqp_url, Topology(namespace)) as rig:
        hands = Acks()
        async with subscribed(rig, amqp_url, hands.take):
            await rig.publish(["m1"])
            await hands.holding(1)
        await rig.delete(rig.queue)


async def test_missing_shared_queues_are_declared(amqp_url: str, namespace: str) -> None:
    """Queues of no single runtime are declared with all that is shared."""
    topology = Topology(namespace, Layout.parse("sharded:2"))
    async with rigged(amqp_url, topology) as rig:
        for shard in topology.shards:
            await rig.delete(shard)
        async with subscribed(rig, amqp_url, Acks().take) as subscriptions:
            subscriptions.want(dict.fromkeys((*topology.shards, topology.unrouted)))
            await live(subscriptions, *topology.shards, topology.unrouted)


async def test_deleted_queue_is_consumed_again(rig: Rig, amqp_url: str) -> None:
    """A queue deleted under its consumer is declared and consumed again by itself."""
    hands = Acks()
    async with subscribed(rig, amqp_url, hands.take) as subscriptions:
        await rig.delete(rig.queue)

        async def arrives() -> bool:
            await rig.publisher.publish(message(rig.topology, "m1"))
            return bool(hands.taken)

        await eventually(arrives)
        assert subscriptions.tally.ended[Ended.CANCELLED] == 1


async def test_unwanted_queue_is_let_go_and_not_declared_again(rig: Rig, amqp_url: str) -> None:
    """A queue that is wanted no more has no consumer, keeps its messages, and may disappear."""
    hands = Acks()
    async with subscribed(rig, amqp_url, hands.take) as subscriptions:
        subscriptions.want({})
        await live(subscriptions)
        await rig.publish(["m1"])
        connection = await rig.connection()

        async def consumers() -> bool:
            facts = await queue_facts(connection, rig.queue)
            return facts is not None and facts.consumers == 0

        await eventually(consumers)
        await rig.delete(rig.queue)
        assert await queue_facts(connection, rig.queue) is None
    assert hands.taken == []


async def test_queue_given_back_is_taken_again_in_order(rig: Rig, amqp_url: str) -> None:
    """After a give-back the queue is consumed again after a moment, from the same message on."""
    seen: list[str | None] = []

    def take(delivery: Delivery) -> None:
        seen.append(delivery.envelope.message_id)
        if delivery.delivery_count < 2 and delivery.envelope.message_id == "m1":
            delivery.give_back()
        else:
            delivery.ack()

    await rig.publish(["m0", "m1", "m2", "m3"])
    async with subscribed(rig, amqp_url, take) as subscriptions:
        await eventually(lambda: seen[-1:] == ["m3"])
        assert seen == ["m0", "m1", "m1", "m1", "m2", "m3"]
        assert subscriptions.tally.ended[Ended.RETURNED] == 2


async def test_paused_takes_nothing_and_resumes(rig: Rig, amqp_url: str) -> None:
    """Paused, messages stay in the queue, with none of their deliveries used up; then they come."""
    hands = Acks()
    async with subscribed(rig, amqp_url, hands.take) as subscriptions:
        subscriptions.pause()
        await live(subscriptions)
        await rig.publish(["m1"])
        connection = await rig.connection()

        async def waiting() -> bool:
            facts = await queue_facts(connection, rig.queue)
            return facts is not None and facts.ready == 1

        await eventually(waiting)
        assert hands.taken == []
        subscriptions.resume()
        await hands.holding(1)
        assert hands.taken[0].delivery_count == 0


async def test_release_waits_for_what_is_in_hand(rig: Rig, amqp_url: str) -> None:
    """Releasing all ends when the last delivery is settled, and nothing comes twice."""
    await rig.publish(["m1", "m2"])
    hands = Hands()
    async with subscribed(rig, amqp_url, hands.take) as subscriptions:
        await hands.holding(2)
        assert subscriptions.open_deliveries == 2
        assert subscriptions.oldest_open == hands.taken[0].received
        releasing = asyncio.create_task(subscriptions.release_all(deadline=10))
        await live(subscriptions)
        assert not releasing.done()
        hands.ack_all()
        await releasing
        assert subscriptions.open_deliveries == 0
    again = Hands()
    consumer = await rig.consume(again)
    await rig.publish(["m3"])
    await again.holding(1)
    assert again.ids == ["m3"]
    again.ack_all()
    await consumer.release(deadline=5)


async def test_cut_connection_is_made_up_for(rig: Rig, amqp_url: str) -> None:
    """When the connection dies all its queues are consumed again on the next one."""
    hands = Acks()
    async with (
        Proxy.before(amqp_url) as proxy,
        subscribed(rig, proxy.address(amqp_url), hands.take) as subscriptions,
    ):
        for name in ("m0", "m1", "m2"):
            proxy.cut()
            await rig.publish([name])
            await eventually(partial(hands.have, name))
        # An ack that was on its way when the connection was cut brings its message again.
        assert list(dict.fromkeys(hands.ids)) == ["m0", "m1", "m2"]
        assert subscriptions.tally.ended[Ended.LOST] == 3


async def test_many_queues_take_more_connections(amqp_url: str, namespace: str) -> None:
    """Beyond so many channels further connections carry the rest; all are consumed."""
    runtimes = [RuntimeId(f"r{number}") for number in range(10)]
    async with rigged(amqp_url, Topology(namespace), RUNTIME, *runtimes) as rig:
        hands = Acks()
        async with subscribed(rig, amqp_url, hands.take, channels=4) as subscriptions:
            queues = {rig.topology.queue_of(one): one for one in runtimes}
            subscriptions.want(queues)
            await live(subscriptions, *queues)
            for one in runtimes:
                await rig.publish(["m"], one)
            await hands.holding(10)
            assert {d.envelope.routing_key for d in hands.taken} == set(runtimes)
            assert len(subscriptions._links) == 3


async def test_consumer_in_name_only_is_found(rig: Rig, amqp_url: str) -> None:
    """Should the broker's notice be lost, asking now and then finds a queue without a consumer."""
    hands = Acks()
    async with subscribed(rig, amqp_url, hands.take, check_seconds=0.1) as subscriptions:
        consumer = subscriptions._all[rig.queue].consumer
        assert consumer is not None
        consumer._channel.on_consumer_cancel_callbacks.clear()
        await rig.delete(rig.queue)
        await eventually(lambda: subscriptions._all[rig.queue].consumer not in {consumer, None})
        await rig.publish(["m1"])
        await hands.holding(1)


async def test_checks_are_spread_over_their_time(rig: Rig, amqp_url: str) -> None:
    """Asking about all queues at once would hold up what is being delivered."""
    runtimes = [RuntimeId(f"r{number}") for number in range(4)]
    told: list[float] = []
    async with (
        rigged(amqp_url, rig.topology, *runtimes),
        subscribed(
            rig,
            amqp_url,
            Hands().take,
            *runtimes,
            on_lag=lambda _, lag: None if lag is None else told.append(monotonic()),
            check_seconds=1.0,
        ),
    ):
        await eventually(lambda: len(told) >= 9, 10, "two rounds of checks are over")
    gaps = [after - before for before, after in pairwise(told[4:])]
    assert min(gaps) > 0.1, gaps


async def test_lag_is_told_while_a_queue_is_consumed_and_no_longer(rig: Rig, amqp_url: str) -> None:
    """What waits beyond the prefetch is told at a check; of a queue let go, nothing."""
    lags: dict[str, int | None] = {}
    await rig.publish([f"m{number}" for number in range(13)])
    async with subscribed(
        rig, amqp_url, Hands().take, on_lag=lags.__setitem__, check_seconds=0.1
    ) as subscriptions:
        await eventually(lambda: lags == {rig.queue: 3})
        releasing = asyncio.create_task(subscriptions.release_all(deadline=0))
        await eventually(lambda: lags == {rig.queue: None})
        await releasing


async def test_every_connection_that_is_lost_is_told(amqp_url: str) -> None:
    """The connections that carry the rest of the queues are missed like the first."""
    losses: list[str] = []
    async with (
        Proxy.before(amqp_url) as proxy,
        Link(proxy.address(amqp_url), "many", lost=lambda: losses.append("lost")) as link,
        Links(link, channels=1) as links,
    ):
        for one in (await links.take(), await links.take()):
            await one.ready(deadline=10)
        proxy.cut()
        await eventually(lambda: len(losses) == 2)


@pytest.mark.slow
async def test_killed_broker_is_made_up_for(private_rabbitmq: RabbitMQ, namespace: str) -> None:
    """After kill -9 and restart of the broker everything goes on by itself, nothing is lost."""
    hands = Acks()
    async with (
        rigged(private_rabbitmq.url, Topology(namespace), RUNTIME) as rig,
        subscribed(rig, private_rabbitmq.url, hands.take),
    ):
        await rig.publish(["m0"])
        await hands.holding(1)
        await asyncio.sleep(1.5)  # a quorum queue that is younger does not survive the kill
        await asyncio.to_thread(private_rabbitmq.kill)
        with pytest.raises(BrokerError):
            await rig.publisher.publish(message(rig.topology, "m1"), deadline=1)
        await asyncio.to_thread(private_rabbitmq.start)
        await asyncio.to_thread(private_rabbitmq.wait_ready)
        await rig.declare(RUNTIME)  # a kill can cost the binding; a worker makes it again
        await rig.publish(["m2"])
        await eventually(lambda: "m2" in hands.ids, 20)


@pytest.mark.slow
async def test_broken_fresh_queue_is_replaced(private_rabbitmq: RabbitMQ, namespace: str) -> None:
    """A queue whose broker died in its first second is replaced and counted; others keep all.

    RabbitMQ 4 has been seen to mend it by itself.
    """
    settled, fresh = RuntimeId("settled"), [RuntimeId(f"fresh-{number}") for number in range(8)]
    async with rigged(private_rabbitmq.url, Topology(namespace), settled) as rig:
        await rig.publish(["kept"], settled)
        await asyncio.sleep(1.5)  # until then it would break as well
        await rig.declare(*fresh)
        await asyncio.to_thread(private_rabbitmq.kill)
        await asyncio.to_thread(private_rabbitmq.start)
        await asyncio.to_thread(private_rabbitmq.wait_ready)
        version = (await rig.connection()).version
        hands = Acks()
        async with subscribed(
            rig, private_rabbitmq.url, hands.take, settled, *fresh
        ) as subscriptions:
            for one in fresh:
                await rig.publish([f"{one}"], one)
            await eventually(lambda: len({*hands.ids}) == 9, 90)
            assert subscriptions.tally.repaired > 0 or version >= (4,)
        assert set(hands.ids) == {"kept", *fresh}
