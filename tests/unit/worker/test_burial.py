"""A dead letter is committed before its delivery is acked, and otherwise the delivery goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from schemas.dead_letters import DeadLetter
from schemas.envelope import Envelope
from store.dead_letters import LetterFilter
from store.open import open_store
from store.ports import Commit, CommitResult
from store.sql import SqlStore
from tests.support.migrated import migrated_file
from tests.support.store import NOW, a_letter, new_id
from worker.broker.delivery import Delivery, Settlement
from worker.burial import Burial
from worker.committer import Committer


class Unobserved:
    """Nobody looks."""

    def committed(
        self, parts: Sequence[Commit], results: Sequence[CommitResult], seconds: float
    ) -> None:
        """Look away."""

    def database(self, *, away: bool) -> None:
        """Look away."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await open_store(await asyncio.to_thread(migrated_file, tmp_path / "store.db"))
    yield opened
    await opened.close()


def a_burial(store: SqlStore) -> Burial:
    committer = Committer(store, grace=0, max_rows=100, observer=Unobserved())
    return Burial(committer, lambda: NOW, new_id)


def a_delivery() -> Delivery:
    return Delivery(
        Envelope(routing_key="ada", body=b"{", message_id="m-1"),
        tag=1,
        redelivered=False,
        queue="meerkat.inbox.ada",
        received=0.0,
        on_settled=lambda _: None,
    )


async def settled(store: SqlStore, letter: DeadLetter) -> Settlement:
    delivery = a_delivery()
    await a_burial(store).keep(delivery, letter)
    return delivery.settlement


async def test_what_is_committed_is_acked(store: SqlStore) -> None:
    assert await settled(store, a_letter()) is Settlement.ACKED
    assert await store.dead_letters.count(LetterFilter()) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        "CREATE TRIGGER full BEFORE INSERT ON dead_letters BEGIN SELECT RAISE(ABORT, 'no'); END",
        "ALTER TABLE dead_letters RENAME TO elsewhere",
    ],
    ids=["the database refuses it", "the database fails"],
)
async def test_what_is_not_committed_goes_back(store: SqlStore, trouble: str) -> None:
    async with store.database.writing() as connection:
        await connection.execute(text(trouble))
    assert await settled(store, a_letter()) is Settlement.RETURNED
