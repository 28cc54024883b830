"""The publisher: what is confirmed is safe, and everything else raises in time."""

import asyncio
import time

import pytest

from tests.integration.broker.rig import RUNTIME, Hands, Rig, message, rigged
from tests.support.eventually import eventually
from worker.broker.announcements import Announcements
from worker.broker.errors import (
    BrokerUnavailableError,
    PublishFailedError,
    UnroutableError,
)
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Topology
from worker.sandbox import start_rabbitmq
from worker.sandbox.ports import free_port
from worker.sandbox.proxy import Direction, Proxy

pytestmark = pytest.mark.rabbitmq


async def test_many_arrive_in_order(rig: Rig) -> None:
    """Messages published together arrive in the order that they were given in."""
    ids = [f"m{number}" for number in range(1_000)]
    await rig.publish(ids)
    hands = Hands()
    consumer = await rig.consume(hands, prefetch=2_000)
    await hands.holding(1_000)
    assert hands.ids == ids
    hands.ack_all()
    await consumer.release(deadline=5)


async def test_unroutable_raises(rig: Rig) -> None:
    """A message that no queue is bound for raises, naming it; the next one goes through."""
    with pytest.raises(UnroutableError, match=r"message m1 .*: no queue is bound for it"):
        await rig.publisher.publish(
            Outgoing(rig.topology.runs, "nobody", b"", {"message_id": "m1"})
        )
    await rig.publish(["m2"])


async def test_unroutable_is_no_error_where_nobody_need_listen(rig: Rig) -> None:
    """Not mandatory, a message without a queue is confirmed and gone."""
    lost = Outgoing(rig.topology.events, "any", b"", {"message_id": "m1"})
    await rig.publisher.publish(lost, mandatory=False)


async def test_each_of_a_batch_has_its_own_result(rig: Rig) -> None:
    """In one batch each message succeeds or fails for itself, also under one and the same id."""
    lost = Outgoing(rig.topology.runs, "nobody", b"", {"message_id": "same"})
    kept = message(rig.topology, "same")
    results = await rig.publisher.publish_many([kept, lost, lost, kept])
    assert [type(result) for result in results] == [
        type(None),
        UnroutableError,
        UnroutableError,
        type(None),
    ]


async def test_missing_exchange_raises_and_heals(rig: Rig) -> None:
    """An exchange that does not exist costs the channel; the next message has a new one."""
    with pytest.raises(PublishFailedError, match="no exchange 'nowhere'"):
        await rig.publisher.publish(Outgoing("nowhere", "key", b"", {"message_id": "m1"}))
    await rig.publish(["m2"])


async def test_property_that_amqp_does_not_know_is_refused(rig: Rig) -> None:
    """A misspelt property is the caller's fault and named, not left out in silence."""
    with pytest.raises(ValueError, match="properties: not of AMQP 0-9-1: mesage_id"):
        await rig.publisher.publish(Outgoing("", rig.queue, b"", {"mesage_id": "m1"}))


async def test_without_a_broker_nothing_is_sent_and_said_in_time() -> None:
    """Without a connection the deadline ends the attempt, and says why there is none."""
    url = f"amqp://guest:geheim@127.0.0.1:{free_port()}/"
    async with Link(url, "test") as link, Publisher(link) as publisher:
        outgoing = Outgoing("", "key", b"", {"message_id": "m1"})
        with pytest.raises(
            BrokerUnavailableError, match=r"not sent: .*Connection refused"
        ) as fault:
            await publisher.publish(outgoing, deadline=1)
        results = await publisher.publish_many([outgoing, outgoing], deadline=0.1)
    assert [type(result) for result in results] == [BrokerUnavailableError] * 2
    assert "geheim" not in str(fault.value)


async def test_lost_confirm_raises(amqp_url: str, namespace: str) -> None:
    """A message whose confirm never comes raises at its deadline, although it arrived."""
    async with (
        Proxy.before(amqp_url) as proxy,
        rigged(amqp_url, Topology(namespace), RUNTIME) as rig,
    ):
        async with Link(proxy.address(amqp_url), "test") as link, Publisher(link) as publisher:
            await publisher.publish(message(rig.topology, "m1"))
            proxy.stall([Direction.TO_CLIENT])
            with pytest.raises(PublishFailedError, match=r"m2 .*: not confirmed in time"):
                await publisher.publish(message(rig.topology, "m2"), deadline=1)
            proxy.refuse()
        hands = Hands()
        consumer = await rig.consume(hands)
        await hands.holding(2)
        assert hands.ids == ["m1", "m2"]
        hands.ack_all()
        await consumer.release(deadline=5)


async def test_connection_lost_before_the_confirm_raises_at_once(
    amqp_url: str, namespace: str
) -> None:
    """When the connection dies, all that is unconfirmed raises then, not at its deadline."""
    async with (
        Proxy.before(amqp_url) as proxy,
        rigged(amqp_url, Topology(namespace), RUNTIME) as rig,
        Link(proxy.address(amqp_url), "test") as link,
        Publisher(link) as publisher,
    ):
        await publisher.publish(message(rig.topology, "m0"))
        proxy.stall([Direction.TO_CLIENT])
        began = time.monotonic()
        many = asyncio.create_task(
            publisher.publish_many(
                [message(rig.topology, f"m{number}") for number in range(1, 20)], deadline=60
            )
        )

        async def arrived() -> bool:
            facts = await queue_facts(await rig.connection(), rig.queue)
            return facts is not None and facts.ready == 20

        await eventually(arrived)
        proxy.cut()
        results = await many
        assert [type(result) for result in results] == [PublishFailedError] * 19
        assert time.monotonic() - began < 20
        await proxy.heal()
        await publisher.publish(message(rig.topology, "again"))


@pytest.mark.slow
async def test_broker_under_an_alarm_raises_at_the_deadline() -> None:
    """A broker that blocks publishers does not hang them: the deadline ends it."""
    with start_rabbitmq(private=True, config=["disk_free_limit.absolute = 999999GB"]) as broker:
        async with Link(broker.url, "test") as link, Publisher(link) as publisher:
            channel = await (await link.ready(deadline=30)).channel()
            await channel.queue_declare("waiting", durable=True)
            outgoing = Outgoing("", "waiting", b"", {"message_id": "m1"})
            await publisher.publish(outgoing)  # by this the broker knows it for a publisher
            with pytest.raises(PublishFailedError, match="not confirmed in time"):
                await publisher.publish(outgoing, deadline=2)


async def test_announcements_arrive_unless_there_are_too_many(rig: Rig) -> None:
    """Announcements go out in order, unconfirmed; what cannot wait is counted."""
    dropped: list[int] = []
    async with Announcements(rig.link, dropped=dropped.append, most=5) as announcements:
        for number in range(8):
            announcements.announce(message(rig.topology, f"m{number}"))
        assert sum(dropped) == 3
        hands = Hands()
        consumer = await rig.consume(hands)
        await hands.holding(5)
        assert hands.ids == ["m0", "m1", "m2", "m3", "m4"]
        hands.ack_all()
        await consumer.release(deadline=5)
