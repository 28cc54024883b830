"""A service that is away keeps back what needs it, and nothing else; all resumes by itself."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from schemas.content import Image, base64_of
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import Client, Prompt
from worker.sandbox import ObjectStore, PostgreSQL, Proxy

PICTURE = Image("image/png", "inline", base64_of(b"\x89PNG and more"))


async def ids(ledger: Ledger, runtime_id: str) -> list[str]:
    return [str(each) for each in await ledger.ids(runtime_id)]


@pytest.mark.object_store
@pytest.mark.parametrize("trouble", ["away", "silent"])
async def test_without_the_blob_store_inputs_with_images_wait_and_others_go_on(
    trouble: str, deployment: Deployment, ledger: Ledger, private_object_store: ObjectStore
) -> None:
    url = private_object_store.url("blobs")
    picture, beside, behind = Prompt("look", blocks=[PICTURE]), Prompt("hello"), Prompt("and then")
    async with Proxy.before(url) as proxy:
        fragile = dataclasses.replace(deployment, settings={"BLOBS": proxy.address(url)})
        async with fragile.client() as client, fragile.worker():
            await client.publish("ada", first := Prompt("first"))
            await eventually(lambda: ids(ledger, "ada"), 60, "the worker works")
            proxy.refuse() if trouble == "away" else proxy.stall()
            await client.publish_many([("ada", picture), ("ada", behind), ("grace", beside)])
            await eventually(lambda: ids(ledger, "grace"), 60, "another runtime goes on")
            assert await ids(ledger, "ada") == [str(first.id)]
            await proxy.heal()
            expected = [str(one.id) for one in (first, picture, behind)]
            await eventually(lambda: _are(ledger, expected), 60, "all are admitted, in order")
    assert await ledger.letters() == []


@pytest.mark.postgres
async def test_a_database_that_is_restarted_under_load_costs_nothing(
    tmp_path: Path, amqp_url: str, namespace: str, private_postgres: PostgreSQL
) -> None:
    url = await private_postgres.create_database()
    deployment = Deployment(tmp_path, amqp_url, namespace, url)
    await deployment.migrate()
    sent: list[str] = []
    over = asyncio.Event()
    async with (
        deployment.store() as store,
        deployment.client() as client,
        deployment.worker(DATABASE_GRACE="1"),
    ):
        ledger = Ledger(store)
        load = asyncio.create_task(_speak(client, sent, over))
        for _ in range(2):
            before = len(sent)
            await eventually(lambda: _more(ledger, before), 60, "the worker works")  # noqa: B023
            rests = _rests(deployment)
            await asyncio.to_thread(private_postgres.kill)
            await eventually(lambda: _rests(deployment) > rests, 60, "grace is over")  # noqa: B023
            await asyncio.to_thread(private_postgres.start)
            await asyncio.to_thread(private_postgres.wait_ready)
        over.set()
        await load
        await eventually(lambda: _are(ledger, sent), 60, "all are admitted, in order")
        assert await ledger.letters() == []


async def _more(ledger: Ledger, number: int) -> bool:
    return len(await ids(ledger, "ada")) > number


def _rests(deployment: Deployment) -> int:
    return deployment.log("worker").count("consuming stopped")


async def _speak(client: Client, sent: list[str], over: asyncio.Event) -> None:
    while not over.is_set():
        prompt = Prompt("tick")
        await client.publish("ada", prompt)
        sent.append(str(prompt.id))


async def _are(ledger: Ledger, expected: list[str]) -> bool:
    return await ids(ledger, "ada") == expected
