"""Retention: what is over and old goes, what is active, young or needed stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.lifecycle import InputState, RunState
from schemas.outcomes import Consumed
from schemas.records import Changes, CommandRecord, SnapshotRecord
from store.dead_letters import LetterFilter
from store.letter_acts import Act
from store.ports import Commit, Lookup
from store.retention import STEP, Deleted, Windows
from store.sql import SqlStore
from tests.support.store import (
    ALPHA,
    DATABASES,
    NOW,
    SECOND,
    a_letter,
    a_part,
    a_receipt,
    a_run,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)

DAY = timedelta(days=1)
WEEK = Windows(inputs=7 * DAY, receipts=7 * DAY, dead_letters=7 * DAY)
GIVEN_UP = Act("me", NOW, "noise")
NOTHING = Deleted(0, 0, 0, 0, 0)
IMAGE, OTHER = (f"sha256:{digit * 64}" for digit in "ab")


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def test_ended_inputs_go_when_their_window_is_over_and_active_ones_never(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    old = an_input(0, state=InputState.CONSUMED, outcome=Consumed(), idempotency_key="k")
    young = replace(old, input_id=new_id(), updated_at=NOW + DAY, idempotency_key=None)
    active = an_input(1)
    await store.commit([a_part(ALPHA, epoch, old, young, active)])
    assert await store.retention.step(WEEK, now=NOW + 7 * DAY) == NOTHING
    deleted = await store.retention.step(WEEK, now=NOW + 7 * DAY + SECOND)
    assert deleted == Deleted(1, 0, 0, 0, 0)
    ids = (old.input_id, young.input_id, active.input_id)
    (known,) = await store.known([Lookup(ALPHA, ids, ("k",))])
    assert set(known.inputs) == {young.input_id, active.input_id}
    assert known.keys == {}


async def test_receipts_and_runs_go_together_but_not_those_of_the_current_run(
    store: SqlStore,
) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    over = a_run(state=RunState.COMPLETED, ended_at=NOW)
    current = a_run(state=RunState.RUNNING)
    changes = Changes(
        runtime=replace(stored.runtime, current_run_id=current.run_id),
        runs=(over, current),
        receipts=(a_receipt(over), a_receipt(over, 1), a_receipt(current)),
        commands=(CommandRecord(new_id(), "retire", {}, NOW),),
    )
    await store.commit([Commit(ALPHA, 1, changes)])
    deleted = await store.retention.step(WEEK, now=NOW + 8 * DAY)
    assert deleted == Deleted(inputs=0, commands=1, receipts=2, runs=1, dead_letters=0)
    assert [run.run_id for run in (await store.queries.runs(ALPHA)).items] == [current.run_id]
    assert len((await store.queries.receipts(ALPHA)).items) == 1


async def test_letters_go_when_somebody_gave_them_up_and_open_ones_stay(store: SqlStore) -> None:
    kept, gone = a_letter(), a_letter()
    await store.commit([Commit(None, 0, dead_letters=(kept, gone))])
    await store.letter_acts.discard([gone.id], GIVEN_UP)
    deleted = await store.retention.step(WEEK, now=NOW + 8 * DAY)
    assert deleted == Deleted(0, 0, 0, 0, 1)
    page = await store.dead_letters.letters(LetterFilter(status=None))
    assert [letter.id for letter in page.items] == [kept.id]


async def test_a_step_is_small_and_says_that_there_is_more(store: SqlStore) -> None:
    epoch = await taken(store)
    over = {"state": InputState.CONSUMED, "outcome": Consumed()}
    records = [an_input(number, **over) for number in range(STEP + 3)]
    await store.commit([a_part(ALPHA, epoch, *records)])
    first = await store.retention.step(WEEK, now=NOW + 8 * DAY)
    second = await store.retention.step(WEEK, now=NOW + 8 * DAY)
    assert (first.inputs, first.more) == (STEP, True)
    assert (second.inputs, second.more) == (3, False)


async def test_no_window_keeps_for_ever(store: SqlStore) -> None:
    epoch = await taken(store)
    await store.commit([a_part(ALPHA, epoch, an_input(state=InputState.CONSUMED))])
    for_ever = Windows(inputs=None, receipts=None, dead_letters=None)
    assert await store.retention.step(for_ever, now=NOW + 9999 * DAY) == NOTHING


def test_receipts_outlive_the_inputs_that_they_prove() -> None:
    with pytest.raises(ValueError, match="at least as long as inputs"):
        Windows(inputs=2 * DAY, receipts=DAY)
    with pytest.raises(ValueError, match="at least as long as inputs"):
        Windows(inputs=None, receipts=DAY)


async def test_a_blob_is_needed_as_long_as_an_input_a_letter_or_a_snapshot_names_it(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    ended = an_input(0, state=InputState.CONSUMED)
    letter = a_letter(body=f'{{"blob_id":"{OTHER}"}}'.encode())
    part = Commit(
        ALPHA,
        epoch,
        Changes(inserted=(ended,)),
        payloads={ended.input_id: f'["{IMAGE}","{IMAGE}"]'.encode()},
        dead_letters=(letter,),
    )
    await store.commit([part])
    needed = store.references.among
    assert await needed([IMAGE, OTHER, "sha256:gone"]) == {IMAGE, OTHER}
    await store.letter_acts.discard([letter.id], GIVEN_UP)
    await store.retention.step(WEEK, now=NOW + 8 * DAY)
    assert await needed([IMAGE, OTHER]) == set()
    snapshot = SnapshotRecord(new_id(), 0, None, IMAGE, None)
    await store.commit([Commit(ALPHA, epoch, Changes(snapshot=snapshot))])
    assert await needed([IMAGE, OTHER]) == {IMAGE}
