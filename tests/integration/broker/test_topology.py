"""The topology on a real broker: routes, layouts, and clashes that say what is wrong."""

import asyncio

import pytest

from schemas.ids import RuntimeId
from tests.integration.broker.rig import RUNTIME, Hands, Rig, rigged
from tests.support.eventually import eventually
from worker.broker.consumer import Consumer
from worker.broker.errors import TopologyClashError
from worker.broker.inspect import QueueFacts, queue_facts
from worker.broker.publisher import Outgoing
from worker.broker.tally import Ended
from worker.broker.topology import DELIVERY_LIMIT, Layout, Topology

pytestmark = pytest.mark.rabbitmq


async def one_from(rig: Rig, queue: str) -> str | None:
    """Take one message off a queue and tell its id."""
    hands = Hands()
    consumer = await Consumer.open(await rig.connection(), queue, hands.take, prefetch=1)
    [delivery] = (await hands.holding(1)).taken
    delivery.ack()
    await consumer.release(deadline=5)
    return delivery.envelope.message_id


async def test_declaring_again_changes_nothing(rig: Rig) -> None:
    """All declarations may be repeated, and keep what is in the queues."""
    await rig.publish(["m1"])
    await rig.declare(RUNTIME)
    await rig.declare(RUNTIME)
    assert await one_from(rig, rig.queue) == "m1"


async def test_message_for_an_undeclared_runtime_is_kept(rig: Rig) -> None:
    """The first message for a runtime that nobody declared waits in the unrouted queue."""
    await rig.publish(["m1"], RuntimeId("stranger"))
    assert await one_from(rig, rig.topology.unrouted) == "m1"


async def test_run_requests_reach_their_pool(rig: Rig) -> None:
    """A run request with a pool's name as its key waits in that pool's queue."""
    channel = await (await rig.connection()).channel()
    await rig.topology.declare_pool(channel, "gpu")
    await rig.publisher.publish(Outgoing(rig.topology.runs, "gpu", b"{}", {"message_id": "run"}))
    queue = rig.topology.pool_queue("gpu")
    assert await one_from(rig, queue) == "run"
    await rig.delete(queue)


async def test_message_returned_too_often_becomes_a_dead_letter_of_the_broker(rig: Rig) -> None:
    """A message that kills its consumer again and again ends in the dead queue, not in a loop."""
    await rig.publish(["poison"])
    connection = await rig.connection()
    for _ in range(DELIVERY_LIMIT + 1):
        hands = Hands()
        consumer = await Consumer.open(connection, rig.queue, hands.take, prefetch=1)
        (await hands.holding(1)).taken[0].give_back()
        assert await asyncio.wait_for(consumer.ended, 10) is Ended.RETURNED
    assert await one_from(rig, rig.topology.dead) == "poison"
    facts = await queue_facts(connection, rig.queue)
    assert facts == QueueFacts(ready=0, consumers=0)


async def test_queue_facts_count_messages_and_consumers(rig: Rig) -> None:
    """Asked about a queue, the broker tells what waits and who consumes; None if there is none."""
    connection = await rig.connection()
    assert await queue_facts(connection, f"{rig.queue}.nowhere") is None
    await rig.publish(["m1", "m2", "m3"])

    async def counted(expected: QueueFacts) -> bool:
        return await queue_facts(connection, rig.queue) == expected

    await eventually(lambda: counted(QueueFacts(ready=3, consumers=0)))
    hands = Hands()
    consumer = await rig.consume(hands, prefetch=1)
    await eventually(lambda: counted(QueueFacts(ready=2, consumers=1)))
    await consumer.release(deadline=0)


async def test_sharded_messages_reach_their_shard(amqp_url: str, namespace: str) -> None:
    """Sharded, each runtime's messages wait in the shard that its id hashes to, in order."""
    topology = Topology(namespace, Layout.parse("sharded:3"))
    runtimes = [RuntimeId(f"agent-{number}") for number in range(12)]
    async with rigged(amqp_url, topology, *runtimes) as rig:
        for runtime_id in runtimes:
            await rig.publish([f"{runtime_id}/1", f"{runtime_id}/2"], runtime_id)
        connection = await rig.connection()
        for shard in topology.shards:
            expected = [
                runtime_id for runtime_id in runtimes if topology.queue_of(runtime_id) == shard
            ]
            hands = Hands()
            consumer = await Consumer.open(connection, shard, hands.take, prefetch=100)
            await hands.holding(2 * len(expected))
            assert expected
            assert hands.ids == [f"{name}/{turn}" for name in expected for turn in (1, 2)]
            assert {d.envelope.routing_key for d in hands.taken} == set(expected)
            hands.ack_all()
            await consumer.release(deadline=5)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [("per-runtime", "sharded:4"), ("sharded:4", "sharded:8"), ("sharded:2", "per-runtime")],
)
async def test_two_layouts_in_one_namespace_are_refused(
    amqp_url: str, namespace: str, there: str, wanted: str
) -> None:
    """Another layout is refused in words: both layouts, the namespace, and what to do."""
    async with rigged(amqp_url, Topology(namespace, Layout.parse(there))) as rig:
        channel = await (await rig.connection()).channel()
        with pytest.raises(TopologyClashError) as refused:
            await Topology(namespace, Layout.parse(wanted)).declare_shared(channel)
    sentence = str(refused.value)
    assert f"laid out {there} here, not {wanted}" in sentence
    assert namespace in sentence
    assert "set the same layout everywhere" in sentence


async def test_queue_with_other_arguments_is_refused(rig: Rig) -> None:
    """A queue of our name with other arguments is named, with what the broker has against it."""
    runtime_id = RuntimeId("taken")
    queue = rig.topology.queue_of(runtime_id)
    connection = await rig.connection()
    channel = await connection.channel()
    await channel.queue_declare(queue, durable=True)
    with pytest.raises(TopologyClashError) as refused:
        await rig.topology.declare_inbox(channel, runtime_id)
    assert queue in str(refused.value)
    assert "inequivalent arg" in str(refused.value)
    assert "x-queue-type=quorum" in str(refused.value)
    assert connection.is_open
    await rig.delete(queue)
