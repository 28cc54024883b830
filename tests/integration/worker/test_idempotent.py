"""Promise 2: what comes again has no second effect; one id with two bodies is a conflict."""

from __future__ import annotations

import dataclasses

from schemas.dead_letters import DeadLetterReason
from schemas.inputs import OperationCompleted
from schemas.outcomes import CompletedOutcome, ConflictOutcome, DeduplicatedOutcome
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import Operation, Prompt, Retire


async def test_the_same_id_again_is_no_second_input_and_its_asker_is_told_the_outcome(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("hello")
    async with deployment.client() as client, deployment.worker(), deployment.executor():
        first = await client.request("ada", prompt, timeout=60)
        again = await client.request("ada", prompt, timeout=60)
    assert isinstance(first, CompletedOutcome)
    assert isinstance(again, DeduplicatedOutcome)
    assert again.existing_id == prompt.id
    assert again.outcome is not None
    assert await ledger.ids("ada") == [prompt.id]


async def test_an_idempotency_key_admits_its_first_input_only(
    deployment: Deployment, ledger: Ledger
) -> None:
    first, second = Prompt("pay", key="invoice-1"), Prompt("pay now", key="invoice-1")
    async with deployment.client() as client, deployment.worker(), deployment.executor():
        await client.request("ada", first, timeout=60)  # ended: only the store knows its key
        told = await client.request("ada", second, timeout=60)
    assert isinstance(told, DeduplicatedOutcome)
    assert told.existing_id == first.id
    assert await ledger.ids("ada") == [first.id]


async def test_one_id_with_another_body_is_a_conflict_that_is_reported_and_kept(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("one thing")
    other = dataclasses.replace(prompt, text="another thing")
    async with deployment.client() as client, deployment.worker(), deployment.executor():
        await client.request("ada", prompt, timeout=60)
        told = await client.request("ada", other, timeout=60)
    assert isinstance(told, ConflictOutcome)
    [letter] = await ledger.letters()
    assert letter["reason"] == DeadLetterReason.CONFLICT
    assert letter["message_id"] == str(prompt.id)
    assert b"another thing" in letter["body"]
    assert await ledger.ids("ada") == [prompt.id]


async def test_duplicates_within_one_batch_are_recognised(
    deployment: Deployment, ledger: Ledger
) -> None:
    prompt = Prompt("once")
    notice = Operation("op-1", OperationCompleted("op-1", None))
    async with deployment.client() as client:
        await client.publish_many([("ada", one) for one in (prompt, notice) for _ in range(5)])
        async with deployment.worker():
            await eventually(lambda: ledger.states("ada"), 60)
            await client.publish("ada", last := Prompt("last"))
            await eventually(lambda: _last_is(ledger, last), 60)
    assert await ledger.ids("ada") == [prompt.id, notice.id, last.id]
    assert await ledger.letters() == []


async def test_a_repeated_command_is_answered_with_the_first_report_and_done_once(
    deployment: Deployment, ledger: Ledger
) -> None:
    retire = Retire()
    async with deployment.client() as client, deployment.worker():
        await client.publish("ada", Prompt("waits"))
        first = await client.command("ada", retire, timeout=60)
        again = await client.command("ada", retire, timeout=60)
    assert again == first
    assert await ledger.count("commands") == 1


async def _last_is(ledger: Ledger, prompt: Prompt) -> bool:
    ids = await ledger.ids("ada")
    return bool(ids) and ids[-1] == prompt.id
