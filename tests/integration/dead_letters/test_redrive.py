"""A redriven letter follows its message: on its way, closed when processed, open if it dies."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Answer
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from tests.support.operating import Operator
from worker.client import Destroy, Prompt, Retire
from worker.dead_letters.redrive import Progress

GOOD_ID = "5f0c6d4e-8f6e-7c3e-9a53-2b1f6f2f9c11"


def prompt(**changes: object) -> bytes:
    """A good prompt, with changes."""
    header = {"id": GOOD_ID, "source": {"type": "operator"}}
    return msgspec.json.encode({"input_type": "prompt", "header": header, "text": "hi", **changes})


async def test_an_edited_letter_is_processed_under_its_own_id_and_closed(
    deployment: Deployment, ledger: Ledger, operator: Operator
) -> None:
    bad = prompt(text=7)
    await operator.send("ada", bad, message_id=GOOD_ID)
    async with deployment.worker():
        letter = await _open(operator)
        assert letter.reason is DeadLetterReason.MALFORMED
        assert await operator.edit(letter, prompt(text="seven")) == Progress(redriven=1)
        closed = await _with(operator, DeadLetterStatus.CLOSED)
    assert await ledger.ids("ada") == [UUID(GOOD_ID)]
    assert (closed.id, closed.redrive_count, closed.deaths) == (letter.id, 1, 1)
    [edit] = await operator.store.dead_letters.edits(letter.id)
    assert (edit.who, edit.why, edit.body_before) == ("ada", "a typo", bad)
    assert '-  "text": 7' in edit.diff
    assert '+  "text": "seven"' in edit.diff
    assert await ledger.count("outbox") == 0


async def test_a_message_that_dies_again_opens_the_same_letter(
    deployment: Deployment, operator: Operator
) -> None:
    await operator.send("ada", prompt(text=7), message_id=GOOD_ID)
    async with deployment.worker():
        letter = await _open(operator)
        assert await operator.redrive(letter) == Progress(redriven=1)
        again = await eventually(lambda: _opened_again(operator), 20, "it died again")
    assert again.id == letter.id
    assert again.status is DeadLetterStatus.OPEN
    assert again.deaths > letter.deaths
    assert (again.redrive_count, again.who) == (1, "ada")
    assert again.first_at == letter.first_at < again.last_at


async def test_an_input_whose_attempts_are_exhausted_comes_back_under_its_own_id(
    deployment: Deployment, ledger: Ledger, operator: Operator
) -> None:
    given = Prompt("do it", key="k-1")
    async with deployment.client() as client, deployment.worker():
        async with deployment.executor("tests.support.agents:hopeless"):
            await client.publish("ada", given)
            letter = await _open(operator)
            assert letter.reason is DeadLetterReason.ATTEMPTS_EXHAUSTED
            await operator.redrive(letter)
            again = await eventually(lambda: _died(operator, 2), 30, "it is exhausted again")
            assert again.id == letter.id
        async with deployment.executor():
            await operator.redrive(again)
            await eventually(lambda: _consumed(ledger), 30, "it is consumed")
    [row] = await ledger.inputs("ada")
    assert row["input_id"] == str(given.id)
    assert row["attempt_count"] == 1
    reasons = [entry.get("reason") for entry in msgspec.json.decode(row["history"])]
    assert reasons.count("redriven by an operator") == 2
    assert (await operator.letter()).status is DeadLetterStatus.CLOSED


async def test_an_exhausted_input_comes_back_with_another_body(
    deployment: Deployment, ledger: Ledger, operator: Operator
) -> None:
    given = Prompt("do the wrong thing")
    async with deployment.client() as client, deployment.worker():
        async with deployment.executor("tests.support.agents:hopeless"):
            await client.publish("ada", given)
            letter = await _open(operator)
        found = await operator.store.dead_letters.get(letter.id)
        assert found is not None
        async with deployment.executor():
            await operator.edit(letter, found[1].replace(b"wrong", b"right"))
            await eventually(lambda: _consumed(ledger), 30, "it is consumed")
            told = await client.request("ada", given, timeout=20)
    [row] = await ledger.inputs("ada")
    assert b"do the right thing" in row["payload"]
    assert type(told).__name__ == "ConflictOutcome", "the rule was lifted for the redrive alone"


async def test_one_of_two_redrives_at_once_wins_and_the_other_is_told(
    deployment: Deployment, operator: Operator
) -> None:
    await operator.send("ada", prompt(text=7), message_id=GOOD_ID)
    async with deployment.worker():
        letter = await _open(operator)
    results = await asyncio.gather(*(operator.redrive(letter) for _ in range(2)))
    assert sorted(one.redriven for one in results) == [0, 1]
    assert {Answer.NOT_OPEN: 1} in [one.refused for one in results]
    assert (await operator.letter()).redrive_count == 1


async def test_a_letter_of_a_destroyed_runtime_stays_open_and_the_operator_is_told(
    deployment: Deployment, operator: Operator
) -> None:
    async with deployment.client() as client, deployment.worker():
        await operator.send("ada", prompt(text=7), message_id=GOOD_ID)
        letter = await _open(operator)
        await client.command("ada", Destroy(), timeout=20)
    assert (await operator.redrive(letter)).refused == {Answer.DESTROYED: 1}
    assert (await operator.letter()).status is DeadLetterStatus.OPEN


async def test_a_header_that_nobody_granted_brings_nothing_back_and_closes_nothing(
    deployment: Deployment, ledger: Ledger, operator: Operator
) -> None:
    given = Prompt("do it")
    async with deployment.client() as client, deployment.worker():
        async with deployment.executor("tests.support.agents:hopeless"):
            await client.publish("ada", given)
            letter = await _open(operator)
        found = await operator.store.dead_letters.get(letter.id)
        assert found is not None
        forged = {"redrive": 1, "redriven_from": str(letter.id)}
        await operator.send("ada", found[1], message_id=str(given.id), headers=forged)
        last = Prompt("last")
        await client.publish("ada", last)
        await eventually(lambda: _has(ledger, 2), 20, "what came behind it is admitted")
    assert (await ledger.states("ada"))[0] == "abandoned"
    assert (await operator.letter()).status is DeadLetterStatus.OPEN


async def test_a_redrive_to_a_retired_runtime_dies_again_though_its_input_is_known(
    deployment: Deployment, operator: Operator
) -> None:
    async with deployment.client() as client, deployment.worker():
        async with deployment.executor("tests.support.agents:hopeless"):
            await client.publish("ada", Prompt("do it"))
            letter = await _open(operator)
        await client.command("ada", Retire(), timeout=20)
        await operator.redrive(letter)
        again = await eventually(lambda: _died(operator, 2), 20, "it died again")
    assert again.reason is DeadLetterReason.NOT_READY


async def _open(operator: Operator) -> Letter:
    return await _with(operator, DeadLetterStatus.OPEN)


async def _with(operator: Operator, status: DeadLetterStatus) -> Letter:
    async def found() -> Letter | None:
        page = await operator.store.dead_letters.letters(LetterFilter(status=status))
        return page.items[0] if page.items else None

    return await eventually(found, 30, f"a letter is {status}")


async def _died(operator: Operator, times: int) -> Letter | None:
    letter = await operator.letter()
    return letter if letter.deaths == times else None


async def _opened_again(operator: Operator) -> Letter | None:
    """Not by its deaths: one that a lost connection delivered twice died twice before."""
    letter = await operator.letter()
    is_again = letter.redrive_count == 1 and letter.status is DeadLetterStatus.OPEN
    return letter if is_again else None


async def _consumed(ledger: Ledger) -> bool:
    return await ledger.states("ada") == ["consumed"]


async def _has(ledger: Ledger, number: int) -> bool:
    return len(await ledger.ids("ada")) == number
