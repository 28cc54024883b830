"""A caller that is cancelled in the middle leaves nothing behind: no lock, no half of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.ids import RuntimeId
from store.sql import SqlStore
from tests.support.store import DATABASES, NOW, an_empty_store

TURNS = 60
LOCKED_SECONDS = 5.0


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def test_the_next_writer_need_not_wait(store: SqlStore) -> None:
    """Wherever it was cancelled. Its traceback is kept, as a log might, and with it the cursor."""
    kept = []
    for turn in range(TURNS):
        some = [RuntimeId(f"turn-{turn}-{number}") for number in range(3)]
        cancelled = asyncio.create_task(store.register(some, now=NOW))
        await asyncio.sleep(turn * 0.0001)
        cancelled.cancel()
        kept.append((await asyncio.gather(cancelled, return_exceptions=True))[0])
        async with asyncio.timeout(LOCKED_SECONDS):
            await store.register([RuntimeId(f"after-{turn}")], now=NOW)
    assert any(isinstance(one, asyncio.CancelledError) for one in kept)
    there = [*map(str, await store.runtime_ids())]
    for turn in range(TURNS):
        assert f"after-{turn}" in there
        assert sum(one.startswith(f"turn-{turn}-") for one in there) in {0, 3}
