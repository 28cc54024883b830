"""Promise 6: kill anything at any moment; the next activation is all the recovery there is."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from sqlalchemy import select

from store import tables
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import BrokerError, Client, Prompt, Wake
from worker.sandbox import RabbitMQ
from worker.sandbox.proxy import Direction, Proxy


async def test_a_broker_that_is_killed_in_mid_flow_and_comes_back_costs_nothing(
    tmp_path: Path, private_rabbitmq: RabbitMQ, namespace: str
) -> None:
    deployment = Deployment(
        tmp_path,
        private_rabbitmq.url,
        namespace,
        f"sqlite+aiosqlite:///{tmp_path / 'meerkat.db'}",
    )
    await deployment.migrate()
    async with (
        deployment.store() as store,
        deployment.client() as client,
        deployment.worker(),
        deployment.executor(),
    ):
        ledger = Ledger(store)
        first = [Prompt(f"before {n}") for n in range(10)]
        await client.publish_many([("ada", prompt) for prompt in first])
        await eventually(lambda: _all_consumed(ledger, 10), 60, "all are consumed")
        await asyncio.sleep(1.5)  # A quorum queue younger than a second dies with its broker.
        more = [Prompt(f"during {n}") for n in range(10)]
        await client.publish_many([("ada", prompt) for prompt in more])
        await asyncio.to_thread(private_rabbitmq.kill)
        await asyncio.to_thread(private_rabbitmq.restart)
        last = Prompt("after")
        await eventually(lambda: _published(client, last), 60, "the client resumes by itself")
        await eventually(lambda: _all_consumed(ledger, 21), 90, "the worker resumes by itself")
    ids = [prompt.id for prompt in (*first, *more, last)]
    async with deployment.store() as store:
        assert await Ledger(store).ids("ada") == ids
        contributing = [
            one for _, _, inputs in await Ledger(store).receipts("ada") for one in inputs
        ]
    assert sorted(contributing) == sorted(ids)


async def test_a_killed_executor_is_replaced_and_each_input_is_applied_once(
    deployment: Deployment, ledger: Ledger
) -> None:
    slow = dataclasses.replace(deployment, settings={"LEASE_SECONDS": "2", "BACKOFF_BASE": "0.1"})
    prompts = [Prompt(f"number {n}") for n in range(5)]
    async with slow.client() as client, slow.worker():
        async with slow.executor("tests.support.agents:sleeper") as executor:
            await client.publish_many([("ada", prompt) for prompt in prompts])
            await eventually(lambda: _running(ledger), 60, "a run is going on")
            executor.kill()
            await executor.wait()
        async with slow.executor():
            await eventually(lambda: _all_consumed(ledger, 5), 60, "the inputs are consumed")
    contributing = [one for _, _, inputs in await ledger.receipts("ada") for one in inputs]
    assert sorted(contributing) == sorted(prompt.id for prompt in prompts)
    assert [row["attempt_count"] for row in await ledger.inputs("ada")] == [2, 1, 1, 1, 1]


async def test_a_run_goes_on_when_the_worker_that_began_it_is_killed(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("slow")
    async with deployment.client() as client, deployment.executor("tests.support.agents:slow"):
        async with deployment.worker() as worker:
            await client.publish("ada", prompt)
            await eventually(lambda: _running(ledger), 60, "a run is going on")
            worker.kill()
            await worker.wait()
        async with deployment.worker():
            await eventually(lambda: _all_consumed(ledger, 1), 60, "the run's end is taken")
    [row] = await ledger.inputs("ada")
    assert row["attempt_count"] == 1
    assert await ledger.epoch("ada") == 2
    assert await ledger.count("runs") == 1


async def test_a_run_request_that_a_killed_worker_left_in_the_outbox_is_published_by_the_next(
    deployment: Deployment, ledger: Ledger
) -> None:
    async with Proxy.before(deployment.amqp_url) as proxy:
        behind = dataclasses.replace(
            deployment,
            amqp_url=proxy.address(deployment.amqp_url),
            publish_url=deployment.amqp_url,
        )
        async with behind.client() as client, behind.worker() as worker:
            await client.command("ada", Wake(), timeout=60)
            proxy.stall({Direction.TO_SERVICE})
            await client.publish("ada", Prompt("hello"))
            await eventually(lambda: ledger.states("ada"), 60, "the run is decided")
            worker.kill()
            await worker.wait()
    assert await ledger.count("outbox") == 1
    async with deployment.worker(), deployment.executor():
        await eventually(lambda: _all_consumed(ledger, 1), 60, "the run is performed")
        await eventually(lambda: _outbox_is_empty(ledger), 60, "the row is deleted")
    [row] = await ledger.inputs("ada")
    assert row["attempt_count"] == 1


async def _outbox_is_empty(ledger: Ledger) -> bool:
    return await ledger.count("outbox") == 0


async def _published(client: Client, prompt: Prompt) -> bool:
    try:
        await client.publish("ada", prompt, timeout=5)
    except BrokerError:
        return False
    return True


async def _all_consumed(ledger: Ledger, number: int) -> bool:
    states = await ledger.states("ada")
    return len(states) == number and set(states) == {"consumed"}


async def _running(ledger: Ledger) -> bool:
    return bool(await ledger.rows(select(tables.runs).where(tables.runs.c.state == "running")))
