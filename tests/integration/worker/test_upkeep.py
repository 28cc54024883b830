"""What nobody asks for is seen to: queues of destroyed runtimes, run requests that got lost."""

from __future__ import annotations

import dataclasses

from schemas.outcomes import CompletedOutcome, NotReadyOutcome
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.broker.inspect import QueueFacts, queue_facts
from worker.broker.link import Link
from worker.client import Destroy, Prompt


async def facts_of(deployment: Deployment, name: str) -> QueueFacts | None:
    """What the broker says of a queue of the namespace."""
    async with Link(deployment.amqp_url, "test") as link:
        connection = await link.ready(deadline=10)
        return await queue_facts(connection, f"{deployment.namespace}.{name}")


async def test_the_queue_of_a_destroyed_runtime_goes_once_it_is_empty_and_no_message_is_lost(
    deployment: Deployment, ledger: Ledger
) -> None:
    late, later = Prompt("late"), Prompt("later")
    async with deployment.client() as client, deployment.worker(), deployment.executor():
        await client.request("ada", Prompt("hello"), timeout=60)
        await client.command("ada", Destroy(), timeout=60)
        told = await client.request("ada", late, timeout=60)
        await eventually(lambda: _is_gone(deployment), 60, "the queue is deleted")
        async with deployment.client() as newcomer:
            told_too = await newcomer.request("ada", later, timeout=60)
        await eventually(lambda: _is_gone(deployment), 60, "the queue is deleted once more")
    assert isinstance(told, NotReadyOutcome)
    assert isinstance(told_too, NotReadyOutcome)
    letters = {(letter["reason"], letter["message_id"]) for letter in await ledger.letters()}
    assert letters == {("not_ready", str(late.id)), ("not_ready", str(later.id))}


async def test_a_run_request_that_the_pool_lost_is_made_again(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("hello")
    quick = dataclasses.replace(deployment, settings={"REQUEST_SECONDS": "2"})
    async with quick.client() as client, quick.worker():
        await client.publish("ada", prompt)
        await eventually(lambda: _requested(quick), 60, "the run is requested")
        async with Link(quick.amqp_url, "test") as link:
            channel = await (await link.ready()).channel()
            await channel.queue_purge(f"{quick.namespace}.runs.default")
        async with quick.executor():
            outcome = await client.request("ada", Prompt("second"), timeout=60)
    assert isinstance(outcome, CompletedOutcome)
    assert await ledger.states("ada") == ["consumed", "consumed"]
    assert [row["attempt_count"] for row in await ledger.inputs("ada")] == [1, 1]


async def test_a_binding_that_the_broker_lost_is_made_again(
    deployment: Deployment, ledger: Ledger
) -> None:
    """A broker that is killed can lose what was declared last: here, only the way to a queue."""
    async with deployment.client() as client:
        async with deployment.worker():
            await client.publish("ada", Prompt("before"))
            await eventually(lambda: _admitted(ledger, 1), 60, "the first is admitted")
            async with Link(deployment.amqp_url, "test") as link:
                channel = await (await link.ready()).channel()
                inbox = f"{deployment.namespace}.inbox"
                await channel.queue_unbind(f"{inbox}.ada", inbox, "ada")
            await client.publish("ada", Prompt("by the way round"))
            await eventually(lambda: _admitted(ledger, 2), 60, "the second is admitted")
        await client.publish("ada", Prompt("straight"))
        await eventually(lambda: _waits(deployment), 60, "the third has come straight")


async def _admitted(ledger: Ledger, count: int) -> bool:
    return len(await ledger.inputs("ada")) == count


async def _waits(deployment: Deployment) -> bool:
    facts = await facts_of(deployment, "inbox.ada")
    return facts is not None and facts.ready == 1


async def _is_gone(deployment: Deployment) -> bool:
    return await facts_of(deployment, "inbox.ada") is None


async def _requested(deployment: Deployment) -> bool:
    facts = await facts_of(deployment, "runs.default")
    return facts is not None and facts.ready == 1
