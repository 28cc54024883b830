"""Promises 5 and 8: bad input becomes a dead letter with reason and bytes; nobody else is hurt."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec

from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.client import Prompt

GOOD_ID = "5f0c6d4e-8f6e-7c3e-9a53-2b1f6f2f9c11"
ANOTHER_ID = "5f0c6d4e-8f6e-7c3e-9a53-2b1f6f2f9c12"


def body(**changes: object) -> bytes:
    """A good prompt, with changes."""
    header = {"id": GOOD_ID, "source": {"type": "operator"}}
    return msgspec.json.encode({"input_type": "prompt", "header": header, "text": "hi", **changes})


BAD = {
    "not JSON": (b"{hello", GOOD_ID, "$: expected JSON"),
    "wrong type": (body(text=5), GOOD_ID, "$.text: expected str"),
    # Client libraries invent an id where none is given.
    "no message id": (body(), None, "$.header.id: expected the id in properties.message_id"),
    "no id": (body(header={"source": {"type": "operator"}}), GOOD_ID, "$.header"),
    "another id": (body(), ANOTHER_ID, "$.header.id: expected the id in properties.message_id"),
    "unknown kind": (body(input_type="wish"), GOOD_ID, "$.input_type"),
    "too large": (body(text="x" * 1_100_000), GOOD_ID, "$: expected at most 1048576 bytes"),
    "too deep": (b'{"a":' * 40 + b"1" + b"}" * 40, GOOD_ID, "$: expected at most 32 levels"),
    "bad UTF-8": (body()[:-2] + b"\xff\xfe" + body()[-2:], GOOD_ID, "$: expected UTF-8"),
}


async def test_malformed_messages_are_kept_with_their_reason_and_the_next_ones_are_processed(
    deployment: Deployment, ledger: Ledger
) -> None:
    """Each stands between two good ones of a runtime of its own; one worker has them all."""
    agents = {f"agent-{n}": bad for n, bad in enumerate(BAD.values())}
    around = {agent: (Prompt("before"), Prompt("after")) for agent in agents}
    async with deployment.client() as client, Link(deployment.amqp_url, "test") as link:
        async with Publisher(link) as publisher:
            for agent, (raw, message_id, _) in agents.items():
                before, after = around[agent]
                await client.publish(agent, before)
                properties = {"type": "input"} | ({"message_id": message_id} if message_id else {})
                exchange = f"{deployment.namespace}.inbox"
                await publisher.publish(Outgoing(exchange, agent, raw, properties))
                await client.publish(agent, after)
        async with deployment.worker():
            for agent in agents:
                await eventually(lambda: _has(ledger, agent, 2), 60, "the neighbours are admitted")  # noqa: B023
    letters = {letter["runtime_id"]: letter for letter in await ledger.letters()}
    assert letters.keys() == agents.keys()
    for agent, (raw, _, complaint) in agents.items():
        letter = letters[agent]
        assert letter["reason"] == "malformed"
        assert letter["detail"].startswith(complaint)
        assert letter["body"] == raw
        assert await ledger.ids(agent) == [one.id for one in around[agent]]
    assert len(await ledger.letters()) == len(agents)
    assert "hello" not in deployment.log("worker")


async def test_a_message_for_no_runtime_is_kept_and_the_worker_goes_on(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("fine")
    async with deployment.client() as client, deployment.worker():
        async with Link(deployment.amqp_url, "test") as link, Publisher(link) as publisher:
            properties = {"type": "input", "message_id": str(uuid4())}
            exchange = f"{deployment.namespace}.inbox"
            await eventually(lambda: _declared(deployment), 60)
            await publisher.publish(Outgoing(exchange, "no such name!", body(), properties))
        await eventually(ledger.letters, 60)
        await client.publish("ada", prompt)
        await eventually(lambda: _has(ledger, "ada", 1), 60)
    [letter] = await ledger.letters()
    assert (letter["reason"], letter["runtime_id"]) == ("malformed", None)
    assert letter["detail"].startswith("routing_key: expected a runtime id")


async def test_the_first_message_for_an_unknown_runtime_finds_its_way(
    deployment: Deployment, ledger: Ledger
) -> None:
    async with deployment.worker():
        await eventually(lambda: _declared(deployment), 60)
        async with Link(deployment.amqp_url, "test") as link, Publisher(link) as publisher:
            properties = {"type": "input", "message_id": GOOD_ID}
            exchange = f"{deployment.namespace}.inbox"
            await publisher.publish(Outgoing(exchange, "newcomer", body(), properties))
        await eventually(lambda: ledger.states("newcomer"), 60)
    assert await ledger.ids("newcomer") == [UUID(GOOD_ID)]


async def _has(ledger: Ledger, runtime_id: str, number: int) -> bool:
    return len(await ledger.ids(runtime_id)) == number


def _declared(deployment: Deployment) -> bool:
    return "worker: running" in deployment.log("worker")
