"""Many runtimes that come to life together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event, text

from schemas.ids import RuntimeId
from store.activation import TOGETHER
from store.errors import DamagedRowError
from store.sql import SqlStore
from tests.support.store import ALPHA, DATABASES, NOW, a_part, an_empty_store, an_input, taken

MANY = [RuntimeId(f"runtime-{number:04}") for number in range(1_000)]


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def test_runtimes_taken_together_keep_their_own_state_and_share_transactions(
    store: SqlStore,
) -> None:
    few = MANY[: 2 * TOGETHER]
    for place, runtime_id in enumerate(few[:5]):
        epoch = await taken(store, runtime_id)
        inputs = [an_input(number) for number in range(place)]
        await store.commit([a_part(runtime_id, epoch, *inputs)])
    commits = []
    event.listen(store.database.writer.sync_engine, "checkout", lambda *_: commits.append(1))
    shuffled = few[::-1]
    found = await asyncio.gather(
        *(store.activate(one, owner="worker-1", now=NOW) for one in shuffled)
    )
    assert [one.runtime.runtime_id for one in found] == shuffled
    assert [len(one.inputs) for one in found[:-6:-1]] == [0, 1, 2, 3, 4]
    assert len(commits) <= 4


async def test_a_runtime_that_cannot_be_read_fails_alone_among_those_taken_with_it(
    store: SqlStore,
) -> None:
    await store.register(MANY[:5], now=NOW)
    async with store.database.writing() as connection:
        damage = "UPDATE runtimes SET state = 'asleep' WHERE runtime_id = :one"
        await connection.execute(text(damage), {"one": MANY[2]})
    found = await asyncio.gather(
        *(store.activate(one, owner="worker-1", now=NOW) for one in MANY[:5]),
        return_exceptions=True,
    )
    assert isinstance(found[2], DamagedRowError)
    others = [one for place, one in enumerate(found) if place != 2]
    assert [one.runtime.epoch for one in others if not isinstance(one, BaseException)] == [1] * 4


async def test_a_commit_does_not_stand_behind_all_runtimes_that_wait_to_be_taken(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    takings = [
        asyncio.ensure_future(store.activate(one, owner="worker-1", now=NOW)) for one in MANY
    ]
    await asyncio.wait(takings, return_when=asyncio.FIRST_COMPLETED)
    await store.commit([a_part(ALPHA, epoch, an_input(0))])
    assert sum(taking.done() for taking in takings) < len(MANY) / 2
    await asyncio.gather(*takings)


async def test_registering_and_taking_the_same_new_runtimes_wait_in_one_order(
    store: SqlStore,
) -> None:
    """Locked in two orders, PostgreSQL would let each wait for the other and end one of them."""
    for turn in range(10):
        new = [RuntimeId(f"turn-{turn}-{number:02}") for number in range(TOGETHER)]
        registering = store.register(new[::-1], now=NOW)
        takings = (store.activate(one, owner="worker-1", now=NOW) for one in new)
        await asyncio.gather(registering, *takings)
