"""Letters redriven on the console's pages, on a real broker and a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import msgspec
import pytest

from schemas.dead_letters import DeadLetter, DeadLetterStatus
from schemas.ids import DeadLetterId, RuntimeId
from schemas.lifecycle import RuntimeState
from schemas.records import Changes
from store.dead_letters import LetterFilter
from store.ports import Commit
from store.sql import SqlStore
from tests.support.browsing import served
from tests.support.eventually import eventually
from tests.support.operating import Operator
from tests.support.store import NOW, a_letter, replace
from worker.broker.connection import Connection
from worker.broker.inspect import queue_facts
from worker.client import Prompt

ADA = RuntimeId("ada")


@dataclass(frozen=True, slots=True)
class Desk:
    """Somebody who is signed in, and the token of their forms."""

    browser: httpx.AsyncClient
    form_token: str

    async def send(self, path: str, **form: str) -> str:
        """Send a form; answers the page that it leads to."""
        answer = await self.browser.post(path, data={"form_token": self.form_token, **form})
        assert answer.status_code == 303, answer.text
        return (await self.browser.get(answer.headers["location"])).text


@asynccontextmanager
async def desk(variables: dict[str, str]) -> AsyncIterator[Desk]:
    """A console process of one's own, signed in, with the broker in reach."""
    async with (
        served(**variables) as console,
        httpx.AsyncClient(base_url=console.address, timeout=30) as browser,
    ):
        await browser.get(console.sign_in)

        async def reached() -> bool:
            page = await browser.get(f"/runtimes/{ADA}")
            return "could not be asked" not in page.text

        await eventually(reached, 20, "the console has a connection to the broker")
        page = (await browser.get("/dead-letters")).text
        yield Desk(browser, page.partition('form_token" value="')[2][:64])


@pytest.fixture
async def inbox(operator: Operator, store: SqlStore) -> str:
    """The inbox of ada, declared, without a consumer; her runtime is known."""
    connection = await Connection.open(operator.url, "test")
    await operator.topology.declare_inbox(await connection.channel(), ADA)
    await connection.close()
    await store.activate(ADA, owner="worker-1", now=NOW)
    return operator.topology.queue_of(ADA)


def a_prompt(number: int) -> DeadLetter:
    """A letter that would be processed."""
    item = Prompt(f"order {number}", timestamp=NOW).to_input()
    name = str(item.header.id)
    properties = {"message_id": name, "type": "input"}
    body = msgspec.json.encode(item)
    return a_letter(ADA, message_id=name, properties=properties, body=body)


async def _keep(store: SqlStore, *letters: DeadLetter) -> list[DeadLetterId]:
    await store.commit([Commit(None, 0, dead_letters=(one,)) for one in letters])
    return [letter.id for letter in letters]


async def _depth(operator: Operator, queue: str) -> int:
    connection = await Connection.open(operator.url, "test")
    try:
        found = await queue_facts(connection, queue)
    finally:
        await connection.close()
    assert found is not None
    return found.ready


async def test_of_two_who_redrive_one_letter_at_once_one_does_and_the_other_is_told(
    variables: dict[str, str], operator: Operator, store: SqlStore, inbox: str
) -> None:
    """Two consoles, ten letters, all at once: ten messages, ten sentences for whoever was late."""
    ids = await _keep(store, *(a_prompt(number) for number in range(10)))
    async with desk(variables) as ada, desk(variables) as bo:
        answers = await asyncio.gather(
            *(
                one.send(f"/dead-letters/{letter_id}/redrive")
                for letter_id in ids
                for one in (ada, bo)
            )
        )
    won = sum("Redriven. The letter closes" in page for page in answers)
    late = sum("Somebody else was faster" in page for page in answers)
    assert (won, late) == (10, 10)
    await eventually(lambda: _all_there(operator, inbox, 10), 20, "ten messages in the inbox")
    letters = [await store.dead_letters.get(letter_id) for letter_id in ids]
    assert [found and found[0].redrive_count for found in letters] == [1] * 10


async def _all_there(operator: Operator, queue: str, number: int) -> bool:
    depth = await _depth(operator, queue)
    assert depth <= number
    return depth == number


async def test_a_letter_that_cannot_be_redriven_is_told_with_the_reason(
    variables: dict[str, str], store: SqlStore, inbox: str
) -> None:
    gone = replace(a_prompt(1), runtime_id=None, source_queue="a queue that is gone")
    nowhere = replace(a_prompt(2), runtime_id=None, source_queue=inbox)
    destroyed = a_prompt(3)
    ids = await _keep(store, gone, nowhere, destroyed)
    stored = await store.activate(ADA, owner="worker-1", now=NOW)
    ended = replace(stored.runtime, state=RuntimeState.DESTROYED)
    await store.commit([Commit(ADA, stored.runtime.epoch, Changes(runtime=ended))])
    async with desk(variables) as ada:
        said = [await ada.send(f"/dead-letters/{letter_id}/redrive") for letter_id in ids]
        tried = await ada.browser.get(f"/dead-letters/{destroyed.id}/dry-run")
    assert "its queue does not exist" in said[0]
    assert "it names no runtime, and no queue to go back to" in said[1]
    assert "its runtime is destroyed and takes nothing, ever" in said[2]
    assert "runtime ada is destroyed" in tried.text
    assert "<button" not in tried.text.partition("<main")[2]
    assert await store.dead_letters.count(LetterFilter()) == 3


async def test_a_group_is_redriven_as_far_as_was_confirmed_and_no_further(
    variables: dict[str, str], operator: Operator, store: SqlStore, inbox: str
) -> None:
    """Letters that came after the question was asked are not part of the answer."""
    letters = [a_prompt(number) for number in range(30)]
    await _keep(store, *letters)
    async with desk(variables) as ada:
        group = letters[0].fingerprint
        page = (await ada.browser.get(f"/dead-letters/redrive?group={group}")).text
        assert "Redrive 30 letters?" in page
        limit = re.search(r'name="limit"[^>]* value="(\d+)"', page)
        assert limit is not None
        await _keep(store, *(a_prompt(number) for number in range(5)))
        shown = await ada.send("/dead-letters/redrive", group=group, limit=limit[1], rate="100")
        act = re.search(r'action="(/acts/[0-9a-f-]+)/stop"', shown)
        assert act is not None, shown

        async def over() -> bool:
            return "30 redriven" in (await ada.browser.get(act[1])).text

        await eventually(over, 20, "the act says that it is over")
    assert await store.dead_letters.count(LetterFilter()) == 5
    redriven = LetterFilter(status=DeadLetterStatus.REDRIVEN)
    assert await store.dead_letters.count(redriven) == 30
    await eventually(lambda: _all_there(operator, inbox, 30), 20, "thirty messages in the inbox")


@pytest.mark.usefixtures("inbox")
async def test_an_act_that_is_stopped_leaves_the_rest_open(
    variables: dict[str, str], store: SqlStore
) -> None:
    await _keep(store, *(a_prompt(number) for number in range(60)))
    async with desk(variables) as ada:
        shown = await ada.send("/dead-letters/redrive", rate="4")
        act = re.search(r'action="(/acts/[0-9a-f-]+)/stop"', shown)
        assert act is not None, shown
        listed = (await ada.browser.get("/dead-letters")).text
        assert f'href="{act[1]}"' in listed
        await ada.send(f"{act[1]}/stop")

        async def stopped() -> bool:
            return '<span class="state stopped">' in (await ada.browser.get(act[1])).text

        await eventually(stopped, 20, "the act says that it was stopped")
    assert await store.dead_letters.count(LetterFilter()) > 0
