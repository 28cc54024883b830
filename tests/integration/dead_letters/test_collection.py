"""What dies is kept once, whoever buries it: the worker, or the broker by itself."""

from __future__ import annotations

import dataclasses

from aiormq.abc import DeliveredMessage

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import RuntimeId
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from tests.support.operating import Operator
from worker.broker.connection import Connection
from worker.broker.publisher import Outgoing
from worker.broker.topology import DELIVERY_LIMIT
from worker.client import Prompt
from worker.clock import new_id, now
from worker.dead_letters.takeover import Takeover
from worker.sandbox.proxy import Direction, Proxy


async def test_what_exceeds_its_delivery_limit_is_collected_and_can_be_redriven(
    deployment: Deployment, ledger: Ledger, operator: Operator
) -> None:
    topology = operator.topology
    prompt = Prompt("hello")
    async with deployment.client() as client:
        await client.publish("ada", prompt)
    await _return_always(deployment, topology.queue_of(RuntimeId("ada")))
    async with deployment.worker(), deployment.executor():
        await eventually(ledger.letters, 30, "it is collected")
        letter = await operator.letter()
        assert letter.reason is DeadLetterReason.DELIVERY_LIMIT
        assert (letter.runtime_id, letter.message_id) == ("ada", str(prompt.id))
        assert letter.source_queue == topology.queue_of(RuntimeId("ada"))
        assert letter.properties["routing_key"] == "ada"
        assert letter.properties["headers"]["x-first-death-reason"] == "delivery_limit"
        await operator.redrive(letter)
        await eventually(lambda: _states(ledger, ["consumed"]), 30, "it is processed")
    assert (await operator.letter()).status is DeadLetterStatus.CLOSED


async def test_a_message_with_no_death_on_it_is_collected_with_what_is_known(
    deployment: Deployment, operator: Operator, ledger: Ledger
) -> None:
    dead = operator.topology.dead
    await operator.publisher.publish(Outgoing(dead, "x", b"\xff\x00", {"message_id": "m-1"}))
    async with deployment.worker():
        await eventually(ledger.letters, 30, "it is collected")
    letter = await operator.letter()
    assert (letter.reason, letter.runtime_id) == (DeadLetterReason.UNROUTABLE, None)
    assert letter.source_queue == dead
    assert (await ledger.letters())[0]["body"] == b"\xff\x00"


async def test_a_malformed_message_of_a_worker_killed_before_its_ack_is_one_letter(
    deployment: Deployment, operator: Operator, ledger: Ledger
) -> None:
    async with Proxy.before(deployment.amqp_url) as proxy:
        led = dataclasses.replace(deployment, amqp_url=proxy.address(deployment.amqp_url))
        async with deployment.client() as client, led.worker() as worker:
            await client.publish("ada", Prompt("it consumes"))
            await eventually(lambda: _states(ledger, ["queued", "staged"]), 30)
            proxy.stall([Direction.TO_SERVICE])
            for properties in ({"message_id": "no uuid"}, {}):
                await operator.send("ada", b"{", **properties)
            await eventually(lambda: _deaths(ledger, [1, 1]), 30, "both are committed")
            worker.kill()
            await worker.wait()
            proxy.cut()
    async with deployment.worker():
        await eventually(lambda: _deaths(ledger, [2, 2]), 30, "both came again")
    assert [row["status"] for row in await ledger.letters()] == ["open", "open"]


async def test_another_dead_letter_queue_is_taken_over_and_leaves_nothing_behind(
    deployment: Deployment, operator: Operator, ledger: Ledger
) -> None:
    queue = f"{deployment.namespace}-old-dead"
    connection = await Connection.open(deployment.amqp_url, "test")
    channel = await connection.channel()
    await channel.queue_declare(queue, durable=True)
    names = [f"m-{number}" for number in range(250)]
    old = [Outgoing("", queue, b"old", {"message_id": name}) for name in names]
    assert set(await operator.publisher.publish_many(old)) == {None}
    takeover = Takeover(operator.store, operator.topology, now, new_id, lambda _: None)
    assert await takeover.run(connection, queue, limit=120) == 120
    assert await takeover.run(connection, queue) == 130
    left = await channel.queue_delete(queue)
    await connection.close()
    assert left.message_count == 0
    rows = await ledger.letters()
    assert {row["reason"] for row in rows} == {"imported"}
    assert sorted(row["message_id"] for row in rows) == sorted(names)


async def _return_always(deployment: Deployment, queue: str) -> None:
    """Take a message and return it until the broker has had enough."""
    connection = await Connection.open(deployment.amqp_url, "test")
    channel = await connection.channel()
    returned = 0

    async def give_back(message: DeliveredMessage) -> None:
        nonlocal returned
        returned += 1
        await channel.basic_nack(message.delivery_tag or 0, requeue=True)

    await channel.basic_consume(queue, give_back)
    await eventually(lambda: returned > DELIVERY_LIMIT, 20, "it came often enough")
    await connection.close()


async def _states(ledger: Ledger, states: list[str]) -> bool:
    return bool(found := await ledger.states("ada")) and set(found) <= set(states)


async def _deaths(ledger: Ledger, deaths: list[int]) -> bool:
    return [row["deaths"] for row in await ledger.letters()] == deaths
