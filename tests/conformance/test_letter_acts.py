"""What people do with dead letters is done once, at once, and signed: on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from schemas.dead_letters import DeadLetter, DeadLetterStatus
from schemas.ids import DeadLetterId
from schemas.lifecycle import InputState, RuntimeState
from schemas.outcomes import EXHAUSTED, Consumed
from schemas.records import Changes, OutboxMessage, Redriven
from store import tables
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act, Answer, Edit
from store.ports import Commit, CommitResult, Contents, Lookup, Wanted
from store.sql import SqlStore
from tests.support.store import (
    ALPHA,
    BETA,
    DATABASES,
    NOW,
    SECOND,
    a_letter,
    a_message,
    a_part,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)

ACT = Act("ada", NOW + SECOND, "the cause is gone")


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Each database in turn, empty."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def kept(store: SqlStore, letter: DeadLetter | None = None) -> DeadLetter:
    """A letter, in the table."""
    letter = letter or a_letter()
    await store.commit([Commit(None, 0, dead_letters=(letter,))])
    return letter


async def seen(store: SqlStore, letter_id: DeadLetterId) -> Letter:
    found = await store.dead_letters.get(letter_id)
    assert found is not None
    return found[0]


def compose(letter: Letter, body: bytes) -> OutboxMessage:
    return a_message(letter.runtime_id, body=body)


def digest(body: bytes) -> str:
    return sha256(body).hexdigest()


async def test_a_redrive_is_a_marked_letter_and_a_row_in_the_outbox(store: SqlStore) -> None:
    letter = await kept(store)
    [done] = await store.letter_acts.redrive([letter.id], ACT, compose)
    assert (done.letter_id, done.answer) == (letter.id, Answer.REDRIVEN)
    assert await store.unpublished(before=NOW + SECOND, limit=10) == [done.message]
    now = await seen(store, letter.id)
    assert (now.status, now.redrive_count) == (DeadLetterStatus.REDRIVEN, 1)
    assert (now.who, now.note, now.acted_at) == (ACT.who, ACT.note, ACT.at)


async def test_the_message_is_composed_from_the_letter_as_the_transaction_finds_it(
    store: SqlStore,
) -> None:
    letter = await kept(store)
    found: list[tuple[int, bytes]] = []

    def note(letter: Letter, body: bytes) -> OutboxMessage:
        found.append((letter.redrive_count, body))
        return compose(letter, body)

    await store.letter_acts.redrive([letter.id], ACT, note)
    assert found == [(1, letter.body)]


async def test_of_redrives_at_once_one_wins_and_the_others_are_told(store: SqlStore) -> None:
    chosen = [(await kept(store)).id for _ in range(5)]
    orders = [chosen, chosen[::-1], chosen]
    results = await asyncio.gather(
        *(store.letter_acts.redrive(ids, ACT, compose) for ids in orders)
    )
    answers = [one for result in results for one in result]
    won = [one.letter_id for one in answers if one.answer is Answer.REDRIVEN]
    assert sorted(won) == sorted(chosen)
    assert [one.answer for one in answers].count(Answer.NOT_OPEN) == 10
    assert len(await store.unpublished(before=NOW + SECOND, limit=100)) == 5


async def test_what_cannot_be_redriven_is_left_alone_with_the_reason(store: SqlStore) -> None:
    await _destroyed(store)
    of_destroyed = await kept(store, a_letter(BETA))
    nowhere = await kept(store, a_letter(None))
    done = await kept(store)
    await store.letter_acts.discard([done.id], ACT)
    ids = [of_destroyed.id, nowhere.id, done.id, new_id()]
    results = await store.letter_acts.redrive(
        ids, ACT, lambda letter, body: compose(letter, body) if letter.runtime_id else None
    )
    expected = [Answer.DESTROYED, Answer.NOWHERE, Answer.NOT_OPEN, Answer.MISSING]
    assert [one.answer for one in results] == expected
    assert await store.unpublished(before=NOW + SECOND, limit=10) == []
    assert (await seen(store, nowhere.id)).status is DeadLetterStatus.OPEN


async def test_a_letter_whose_message_reports_to_nobody_is_closed_at_once(store: SqlStore) -> None:
    letter = await kept(store, a_letter(None))
    await store.letter_acts.redrive([letter.id], ACT, compose)
    assert (await seen(store, letter.id)).status is DeadLetterStatus.CLOSED


async def test_a_letter_that_cannot_be_read_does_not_keep_the_others_back(
    store: SqlStore,
) -> None:
    good, bad = await kept(store), await kept(store)
    async with store.database.writing() as connection:
        await connection.execute(
            tables.dead_letters.update()
            .where(tables.dead_letters.c.message_id == bad.message_id)
            .values(reason="no such reason")
        )
    results = await store.letter_acts.redrive([bad.id, good.id], ACT, compose)
    assert [one.answer for one in results] == [Answer.DAMAGED, Answer.REDRIVEN]


async def test_an_edit_replaces_the_body_and_keeps_the_old_one_with_who_and_why(
    store: SqlStore,
) -> None:
    letter = await kept(store, a_letter(body=b"before"))
    edit = Edit(b"after!", "-before\n+after!", digest(b"before"))
    [done] = await store.letter_acts.redrive([letter.id], ACT, compose, edit=edit)
    assert done.message is not None
    assert done.message.body == b"after!"
    found = await store.dead_letters.get(letter.id)
    assert found is not None
    assert (found[0].body_size, found[1]) == (6, b"after!")
    [change] = await store.dead_letters.edits(letter.id)
    assert (change.redrive_count, change.who, change.why) == (1, "ada", "the cause is gone")
    assert (change.body_before, change.diff, change.at) == (b"before", edit.diff, ACT.at)


async def test_an_edit_of_a_body_that_has_changed_since_is_refused(store: SqlStore) -> None:
    letter = await kept(store)
    edit = Edit(b"after", "", digest(b"another"))
    [done] = await store.letter_acts.redrive([letter.id], ACT, compose, edit=edit)
    assert done.answer is Answer.CHANGED
    assert await store.dead_letters.edits(letter.id) == ()
    assert (await seen(store, letter.id)).status is DeadLetterStatus.OPEN


async def test_discarding_and_reopening_answer_what_they_changed(store: SqlStore) -> None:
    first, second = await kept(store), await kept(store)
    assert await store.letter_acts.discard([first.id, new_id()], ACT) == (first.id,)
    assert await store.letter_acts.discard([first.id, second.id], ACT) == (second.id,)
    assert await store.letter_acts.reopen([second.id, first.id], ACT) == (second.id, first.id)
    assert await store.letter_acts.reopen([first.id], ACT) == ()
    assert (await seen(store, first.id)).note == "the cause is gone"


async def test_open_letters_are_named_in_pieces_that_nothing_moves(store: SqlStore) -> None:
    made = [(await kept(store, a_letter(body=b"x" * n))).id for n in range(1, 6)]
    wanted = LetterFilter(status=None)
    first = await store.dead_letters.open_ids(wanted, limit=2)
    assert first == [(made[0], 1), (made[1], 2)]
    await store.letter_acts.discard([made[0], made[2]], ACT)
    rest = await store.dead_letters.open_ids(wanted, limit=9, after=made[1])
    assert rest == [(made[3], 4), (made[4], 5)]


# --- what a worker asks --------------------------------------------------------------------------


async def test_a_redriven_letter_is_known_to_its_runtime_until_its_message_is_settled(
    store: SqlStore,
) -> None:
    letter = await kept(store)
    mine, others = Lookup(ALPHA, redriven=(letter.id,)), Lookup(BETA, redriven=(letter.id,))
    assert [one.redriven for one in await store.known([mine, others])] == [{}, {}]
    await store.letter_acts.redrive([letter.id], ACT, compose)
    grant = {letter.id: Redriven(letter.message_id, 1, digest(letter.body))}
    assert [one.redriven for one in await store.known([mine, others])] == [grant, {}]
    await store.commit([Commit(None, 0, closed=(letter.id,))])
    assert [one.redriven for one in await store.known([mine])] == [{}]


async def test_only_exhausted_inputs_are_handed_back_and_whole(store: SqlStore) -> None:
    epoch = await taken(store)
    abandoned = an_input(state=InputState.ABANDONED, lane=None, outcome=EXHAUSTED)
    consumed = an_input(1, state=InputState.CONSUMED, lane=None, outcome=Consumed())
    await store.commit([a_part(ALPHA, epoch, abandoned, consumed)])
    asked = Lookup(ALPHA, exhausted=(abandoned.input_id, consumed.input_id))
    [known] = await store.known([asked])
    assert known.exhausted == {abandoned.input_id: abandoned}


async def test_an_input_that_comes_back_is_the_same_row_with_what_its_payload_says_of_it(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    before = an_input(state=InputState.ABANDONED, lane=None, outcome=EXHAUSTED)
    await store.commit([a_part(ALPHA, epoch, before)])
    after = replace(an_input(7, idempotency_key="k"), input_id=before.input_id)
    back = Commit(ALPHA, epoch, Changes(updated=(after,)), {before.input_id: b'{"new":1}'})
    assert await store.commit([back]) == [CommitResult.COMMITTED]
    stored = await store.read(ALPHA)
    assert stored is not None
    assert stored.inputs == (after,)
    assert await store.contents([Wanted(ALPHA, (before.input_id,))]) == [
        Contents({before.input_id: b'{"new":1}'})
    ]


async def _destroyed(store: SqlStore) -> None:
    epoch = await taken(store, BETA)
    stored = await store.read(BETA)
    assert stored is not None
    ended = replace(stored.runtime, state=RuntimeState.DESTROYED)
    await store.commit([Commit(BETA, epoch, Changes(runtime=ended))])
