"""Promise 3: within a runtime, inputs are admitted in the order in which the broker holds them."""

from __future__ import annotations

from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import ExternalEvent

RUNTIMES = ("ada", "grace", "linus")


async def test_order_holds_over_kills_of_the_worker_with_many_messages_in_hand(
    deployment: Deployment, ledger: Ledger
) -> None:
    events = [ExternalEvent("tick", {"n": n}) for n in range(600)]
    spread = [(RUNTIMES[n % 3], event) for n, event in enumerate(events)]
    async with deployment.client() as client:
        for kill in range(3):
            async with deployment.worker(PREFETCH="50", COMMIT_MAX_ROWS="20") as worker:
                await client.publish_many(spread[kill * 150 : (kill + 1) * 150])
                wanted = 20 + kill * 150
                await eventually(lambda: _at_least(ledger, wanted), 60)  # noqa: B023
                worker.kill()
                await worker.wait()
        await client.publish_many(spread[450:])
        async with deployment.worker(PREFETCH="50"):
            await eventually(lambda: _at_least(ledger, len(events)), 60)
    for runtime_id in RUNTIMES:
        published = [event.id for owner, event in spread if owner == runtime_id]
        assert await ledger.ids(runtime_id) == published


async def _at_least(ledger: Ledger, number: int) -> bool:
    return await ledger.count("inputs") >= number
