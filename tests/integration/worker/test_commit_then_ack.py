"""Promise 1: no message is acked before its effect is committed."""

from __future__ import annotations

import dataclasses

from tests.integration.worker.conftest import locked
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.client import Prompt
from worker.sandbox.proxy import Direction, Proxy


async def messages_in_inbox(deployment: Deployment, runtime_id: str) -> int:
    """How many messages wait in an inbox; a message that somebody holds does not count."""
    async with Link(deployment.amqp_url, "test") as link:
        connection = await link.ready(deadline=10)
        facts = await queue_facts(connection, f"{deployment.namespace}.inbox.{runtime_id}")
    return facts.ready if facts else 0


async def test_a_worker_killed_between_commit_and_ack_leads_to_a_redelivery_without_effect(
    deployment: Deployment, ledger: Ledger
) -> None:
    async with Proxy.before(deployment.amqp_url) as proxy:
        behind = dataclasses.replace(
            deployment,
            amqp_url=proxy.address(deployment.amqp_url),
            publish_url=deployment.amqp_url,
        )
        async with behind.client() as client, behind.worker() as worker:
            await client.publish("ada", Prompt("one"))
            await eventually(lambda: ledger.states("ada"), 60, "the first input is committed")
            proxy.stall({Direction.TO_SERVICE})
            prompt = Prompt("two")
            await client.publish("ada", prompt)
            await eventually(lambda: _has(ledger, 2), 60, "the second input is committed")
            worker.kill()
            await worker.wait()
    assert await ledger.epoch("ada") == 1
    async with deployment.worker():
        await eventually(lambda: "disposition=duplicate" in deployment.log("worker"), 60)
        assert f"message_id={prompt.id}" in deployment.log("worker")
        await eventually(lambda: _empty(deployment, "ada"), 60, "the redelivery is acked")
    assert len(await ledger.ids("ada")) == 2
    assert await ledger.letters() == []


async def test_a_worker_killed_between_delivery_and_commit_leads_to_a_redelivery_with_effect(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompts = [Prompt(f"number {n}") for n in range(30)]
    async with deployment.client() as client, deployment.worker() as worker:
        await client.publish("ada", Prompt("first"))
        await eventually(lambda: ledger.states("ada"), 60, "the worker works")
        with locked(deployment.directory / "meerkat.db"):
            await client.publish_many([("ada", prompt) for prompt in prompts])
            await eventually(lambda: _empty(deployment, "ada"), 60, "the worker holds them all")
            worker.kill()
            await worker.wait()
    assert len(await ledger.ids("ada")) == 1
    assert await messages_in_inbox(deployment, "ada") == len(prompts)
    async with deployment.worker():
        await eventually(lambda: _has(ledger, 31), 60, "all are admitted by the next worker")
    assert (await ledger.ids("ada"))[1:] == [prompt.id for prompt in prompts]


async def test_while_the_database_cannot_commit_nothing_is_acked_and_nothing_is_written(
    deployment: Deployment, ledger: Ledger
) -> None:
    async with (
        deployment.client() as client,
        deployment.worker(DATABASE_GRACE="1.5"),
    ):
        await client.publish("ada", Prompt("first"))
        await eventually(lambda: ledger.states("ada"), 60, "the worker works")
        with locked(deployment.directory / "meerkat.db"):
            await client.publish("ada", Prompt("second"))
            await eventually(
                lambda: "consuming stopped" in deployment.log("worker"), 60, "the grace is over"
            )
            await eventually(
                lambda: _waits(deployment, "ada", 1), 60, "the message is back in its queue"
            )
            assert len(await ledger.ids("ada")) == 1
        await eventually(lambda: _has(ledger, 2), 60, "the worker resumes by itself")


async def _has(ledger: Ledger, number: int) -> bool:
    return len(await ledger.ids("ada")) == number


async def _empty(deployment: Deployment, runtime_id: str) -> bool:
    return await messages_in_inbox(deployment, runtime_id) == 0


async def _waits(deployment: Deployment, runtime_id: str, number: int) -> bool:
    return await messages_in_inbox(deployment, runtime_id) == number
