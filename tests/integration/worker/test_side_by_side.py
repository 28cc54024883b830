"""Workers side by side: each queue has one taker, and the dead are replaced."""

from __future__ import annotations

import dataclasses
from collections import Counter
from time import monotonic

import pytest

from tests.support.commands import meerkat
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import ExternalEvent, Prompt

RUNTIMES = [f"agent-{n}" for n in range(12)]


async def listed(deployment: Deployment) -> dict[str, list[str]]:
    """Who says that they consume which queues, as a person is told."""
    said = await meerkat("workers", "list", "--json", MEERKAT_DATABASE_URL=deployment.database_url)
    return {line["worker_id"]: line["queues"] for line in said.lines}


async def shared_out(ledger: Ledger, queues: int, workers: int) -> bool:
    """Whether all inbox queues are taken, each once, by that many workers that each have some."""
    found = await ledger.store.workers()
    held = [[queue for queue in one.queues if ".inbox." in queue] for one in found]
    counts = Counter(queue for taken in held for queue in taken)
    return len(counts) == queues and set(counts.values()) == {1} and sum(map(bool, held)) == workers


@pytest.mark.parametrize(("layout", "queues"), [("per-runtime", 12), ("sharded:8", 8)])
async def test_queues_are_shared_out_and_a_killed_workers_share_is_taken_over(
    layout: str, queues: int, deployment: Deployment, ledger: Ledger
) -> None:
    shared = dataclasses.replace(deployment, layout=layout)
    events = [ExternalEvent("tick", {"n": n}) for n in range(240)]
    spread = [(RUNTIMES[n % 12], event) for n, event in enumerate(events)]
    async with shared.client() as client, shared.worker() as first, shared.worker():
        await client.publish_many(spread[:120])
        await eventually(lambda: shared_out(ledger, queues, 2), 60, "both have their share")
        first.kill()
        await first.wait()
        await client.publish_many(spread[120:])
        await eventually(lambda: _count(ledger, 240), 60, "the other takes all")
    for runtime_id in RUNTIMES:
        published = [event.id for owner, event in spread if owner == runtime_id]
        assert await ledger.ids(runtime_id) == published


async def test_a_worker_that_ends_in_good_order_hands_its_share_on_and_is_forgotten(
    deployment: Deployment, ledger: Ledger
) -> None:
    async with deployment.client() as client, deployment.worker():
        async with deployment.worker():
            await client.publish_many([(name, Prompt("hello")) for name in RUNTIMES])
            await eventually(lambda: shared_out(ledger, 12, 2), 60, "both have their share")
        await eventually(lambda: shared_out(ledger, 12, 1), 60, "the other has all")
        [queues] = (await listed(deployment)).values()
        assert sum(".inbox." in queue for queue in queues) == 12
        await client.publish_many([(name, Prompt("again")) for name in RUNTIMES])
        await eventually(lambda: _count(ledger, 24), 60)


async def test_a_killed_workers_runtimes_go_on_within_two_seconds(
    deployment: Deployment, ledger: Ledger
) -> None:
    """The broker notices a kill at once; the better of two, for the machine may be busy."""
    took = []
    async with deployment.client() as client, deployment.worker():
        for turn in range(2):
            async with deployment.worker(WORKER_ID=f"victim-{turn}") as victim:
                await client.publish_many([(name, Prompt("hello")) for name in RUNTIMES])
                await eventually(lambda: shared_out(ledger, 12, 2), 60, "both have a share")
                victim.kill()
                killed = monotonic()
                await client.publish_many([(name, Prompt("go on")) for name in RUNTIMES])
                await eventually(lambda: _count(ledger, 24 * (turn + 1)), 60)  # noqa: B023
                took.append(monotonic() - killed)
            await ledger.store.forget_worker(f"victim-{turn}")
    assert min(took) < 2, took


async def _count(ledger: Ledger, number: int) -> bool:
    return await ledger.count("inputs") == number
