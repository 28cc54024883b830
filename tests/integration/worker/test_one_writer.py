"""Promise 4: a worker that lost a runtime cannot commit to it."""

from __future__ import annotations

import signal

from schemas.ids import RuntimeId
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import Prompt
from worker.clock import now


async def test_a_commit_behind_anothers_activation_is_fenced_and_its_message_is_not_lost(
    deployment: Deployment, ledger: Ledger
) -> None:
    ada, grace = RuntimeId("ada"), RuntimeId("grace")
    async with deployment.client() as client, deployment.worker():
        for runtime_id in (ada, grace):
            await client.publish(runtime_id, Prompt("first"))
            await eventually(lambda: ledger.states(runtime_id), 60)  # noqa: B023
        await ledger.store.activate(ada, owner="another worker", now=now())
        await client.publish(ada, Prompt("second"))
        await client.publish(grace, Prompt("second"))
        await eventually(lambda: _has(ledger, grace, 2), 60, "the other runtime is not disturbed")
        await eventually(lambda: _has(ledger, ada, 2), 60, "the message came back and was taken")
    assert "runtime: fenced" in deployment.log("worker")
    assert await ledger.epoch(ada) == 3
    assert await ledger.epoch(grace) == 1


async def test_a_worker_that_slept_while_it_was_replaced_changes_nothing_when_it_wakes(
    deployment: Deployment, ledger: Ledger
) -> None:
    """Order is kept across both takeovers; that the fence holds is shown above."""
    prompts = [Prompt(f"number {n}") for n in range(20)]
    async with deployment.client() as client, deployment.worker() as sleeper:
        await client.publish("ada", prompts[0])
        await eventually(lambda: ledger.states("ada"), 60)
        sleeper.send_signal(signal.SIGSTOP)
        try:
            await client.publish_many([("ada", prompt) for prompt in prompts[1:]])
            async with deployment.worker():
                await eventually(lambda: _has(ledger, "ada", 20), 120, "the other worker took over")
                before = await ledger.inputs("ada")
                sleeper.send_signal(signal.SIGCONT)
                await client.publish("ada", Prompt("after"))
                await eventually(lambda: _has(ledger, "ada", 21), 60)
        finally:
            sleeper.send_signal(signal.SIGCONT)
    after = await ledger.inputs("ada")
    assert [row["input_id"] for row in after[:20]] == [row["input_id"] for row in before]
    assert [str(row["input_id"]) for row in before] == [str(prompt.id) for prompt in prompts]


async def _has(ledger: Ledger, runtime_id: str, number: int) -> bool:
    return len(await ledger.ids(runtime_id)) == number
