"""One message, one letter: on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from schemas.dead_letters import DeadLetter, DeadLetterReason, DeadLetterStatus
from schemas.records import OutboxMessage
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act, Edit
from store.ports import Commit, CommitResult
from store.sql import SqlStore
from tests.support.store import (
    DATABASES,
    NOW,
    SECOND,
    a_letter,
    a_message,
    an_empty_store,
    new_id,
    replace,
)

ACT = Act("ada", NOW)


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Each database in turn, empty."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def bury(store: SqlStore, *letters: DeadLetter) -> None:
    results = await store.commit([Commit(None, 0, dead_letters=(one,)) for one in letters])
    assert set(results) == {CommitResult.COMMITTED}


async def letters(store: SqlStore) -> list[Letter]:
    page = await store.dead_letters.letters(LetterFilter(status=None))
    return sorted(page.items, key=lambda letter: letter.first_at)


def dying_again(letter: DeadLetter, **changed: object) -> DeadLetter:
    """The same message, dead a second later."""
    return replace(letter, id=new_id(), at=letter.at + SECOND, **changed)


def compose(letter: Letter, body: bytes) -> OutboxMessage:
    return a_message(letter.runtime_id, body=body)


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_a_message_delivered_twice_is_one_letter_with_two_deaths(
    store: SqlStore, message_id: str | None
) -> None:
    letter = a_letter(message_id=message_id)
    await bury(store, letter)
    await bury(store, dying_again(letter))
    [kept] = await letters(store)
    assert (kept.id, kept.deaths) == (letter.id, 2)
    assert (kept.first_at, kept.last_at) == (NOW, NOW + SECOND)


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_two_deliveries_in_one_commit_are_one_letter(
    store: SqlStore, message_id: str | None
) -> None:
    letter = a_letter(message_id=message_id)
    await bury(store, letter, dying_again(letter))
    [kept] = await letters(store)
    assert (kept.id, kept.deaths) == (letter.id, 2)


async def test_a_commit_made_again_because_its_answer_was_lost_counts_no_death(
    store: SqlStore,
) -> None:
    letter = a_letter()
    await bury(store, letter)
    await bury(store, letter)
    [kept] = await letters(store)
    assert kept.deaths == 1


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_workers_that_bury_one_message_at_once_make_one_letter(
    store: SqlStore, message_id: str | None
) -> None:
    letter = a_letter(message_id=message_id)
    await asyncio.gather(*(bury(store, dying_again(letter)) for _ in range(8)))
    [kept] = await letters(store)
    assert kept.deaths == 8


@pytest.mark.parametrize(
    "changed",
    [
        {"body": b"other"},
        {"runtime_id": None},
        {"message_id": None, "source_queue": "q-1"},
    ],
)
async def test_another_message_has_a_letter_of_its_own(
    store: SqlStore, changed: dict[str, object]
) -> None:
    letter = a_letter()
    nameless = a_letter(message_id=None, source_queue="q-2")
    await bury(store, letter, nameless)
    await bury(store, dying_again(letter, **changed))
    assert [one.deaths for one in await letters(store)] == [1, 1, 1]


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "on its way"])
async def test_a_redriven_message_that_dies_opens_its_letter(
    store: SqlStore, *, closed: bool
) -> None:
    letter = a_letter()
    await bury(store, letter)
    await store.letter_acts.redrive([letter.id], ACT, compose)
    if closed:
        await store.commit([Commit(None, 0, closed=(letter.id,))])
        assert [one.status for one in await letters(store)] == [DeadLetterStatus.CLOSED]
    await bury(store, dying_again(letter, reason=DeadLetterReason.CONFLICT, detail="taken"))
    [kept] = await letters(store)
    assert (kept.id, kept.status) == (letter.id, DeadLetterStatus.OPEN)
    assert (kept.reason, kept.deaths, kept.redrive_count) == (DeadLetterReason.CONFLICT, 2, 1)


async def test_an_edited_message_that_dies_opens_its_letter_with_the_body_that_died(
    store: SqlStore,
) -> None:
    letter = a_letter(body=b"before")
    await bury(store, letter)
    edit = Edit(b"after", "- before\n+ after", sha256(b"before").hexdigest())
    await store.letter_acts.redrive([letter.id], ACT, compose, edit=edit)
    await bury(store, dying_again(letter, body=b"after"))
    [kept] = await letters(store)
    found = await store.dead_letters.get(letter.id)
    assert (kept.id, kept.deaths) == (letter.id, 2)
    assert found is not None
    assert found[1] == b"after"


async def test_an_input_exhausted_after_its_redrive_is_the_same_letter_though_its_bytes_differ(
    store: SqlStore,
) -> None:
    exhausted = DeadLetterReason.ATTEMPTS_EXHAUSTED
    letter = a_letter(body=b"with an image")
    await bury(store, letter)
    await store.letter_acts.redrive([letter.id], ACT, compose)
    await store.commit([Commit(None, 0, closed=(letter.id,))])
    await bury(store, dying_again(letter, body=b"image elsewhere", reason=exhausted))
    [kept] = await letters(store)
    assert (kept.id, kept.reason, kept.deaths) == (letter.id, exhausted, 2)


async def test_a_discarded_letter_stays_as_it_is(store: SqlStore) -> None:
    letter = a_letter()
    await bury(store, letter)
    assert await store.letter_acts.discard([letter.id], ACT) == (letter.id,)
    await bury(store, dying_again(letter))
    old, new = await letters(store)
    assert (old.status, old.deaths) == (DeadLetterStatus.DISCARDED, 1)
    assert (new.status, new.deaths) == (DeadLetterStatus.OPEN, 1)


async def test_closing_leaves_a_letter_that_died_again_open(store: SqlStore) -> None:
    letter = a_letter()
    await bury(store, letter)
    await store.commit([Commit(None, 0, closed=(letter.id,))])
    assert [one.status for one in await letters(store)] == [DeadLetterStatus.OPEN]


async def test_a_letter_that_is_closed_and_dies_in_one_commit_is_open(store: SqlStore) -> None:
    letter = a_letter()
    await bury(store, letter)
    await store.letter_acts.redrive([letter.id], ACT, compose)
    again = dying_again(letter)
    await store.commit([Commit(None, 0, closed=(letter.id,), dead_letters=(again,))])
    [kept] = await letters(store)
    assert (kept.status, kept.deaths) == (DeadLetterStatus.OPEN, 2)
