"""One damaged row: it is told, it is quarantined, and it hurts nothing beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, literal_column, update

from schemas.dead_letters import DeadLetterReason
from schemas.ids import RuntimeId
from schemas.records import Changes, Timer, TimerKind
from store import tables
from store.dead_letters import LetterFilter
from store.errors import DamagedRowError
from store.ports import Commit, CommitResult, Lookup
from store.sql import SqlStore
from tests.support.store import (
    ALPHA,
    BETA,
    DATABASES,
    NOW,
    SECOND,
    a_letter,
    a_part,
    a_run,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def damage(store: SqlStore, table: Table, key: str, value: object, **columns: Any) -> None:  # noqa: ANN401
    """Write what no version of ours would write."""
    async with store.database.writing() as connection:
        changed = update(table).where(table.c[key] == value).values(columns)
        assert (await connection.execute(changed)).rowcount == 1


async def test_the_rest_of_a_runtime_loads(store: SqlStore) -> None:
    epoch = await taken(store)
    records = [an_input(sequence) for sequence in range(3)]
    await store.commit([a_part(ALPHA, epoch, *records)])
    await damage(store, tables.inputs, "sequence", 1, history="[{]")
    stored = await store.activate(ALPHA, owner="worker-2", now=NOW)
    assert stored.inputs == (records[0], records[2])
    (corrupt,) = stored.corrupt
    assert corrupt.input_id == str(records[1].input_id)
    assert corrupt.detail.startswith("$.history")
    assert msgspec.json.decode(corrupt.raw)["history"] == "[{]"


async def test_a_damaged_row_is_quarantined_with_its_dead_letter_and_no_other_is(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    records = [an_input(sequence) for sequence in range(3)]
    await store.commit([a_part(ALPHA, epoch, *records)])
    await damage(store, tables.inputs, "sequence", 1, state="sleeping")
    (corrupt,) = (await store.activate(ALPHA, owner="worker-2", now=NOW)).corrupt
    letter = a_letter(
        body=corrupt.raw, message_id=corrupt.input_id, reason=DeadLetterReason.CORRUPT_RECORD
    )
    part = Commit(ALPHA, epoch + 1, dead_letters=(letter,), quarantined=(corrupt.input_id,))
    assert await store.commit([part]) == [CommitResult.COMMITTED]
    stored = await store.activate(ALPHA, owner="worker-2", now=NOW)
    assert stored.inputs == (records[0], records[2])
    assert stored.corrupt == ()
    page = await store.dead_letters.letters(LetterFilter())
    assert [one.reason for one in page.items] == [DeadLetterReason.CORRUPT_RECORD]


async def test_a_fenced_worker_quarantines_nothing(store: SqlStore) -> None:
    epoch = await taken(store)
    await store.commit([a_part(ALPHA, epoch, an_input())])
    await damage(store, tables.inputs, "sequence", 0, kind="riddle")
    (corrupt,) = (await store.activate(ALPHA, owner="worker-2", now=NOW)).corrupt
    part = Commit(ALPHA, epoch, quarantined=(corrupt.input_id,))
    assert await store.commit([part]) == [CommitResult.FENCED]
    assert len((await store.activate(ALPHA, owner="worker-2", now=NOW)).corrupt) == 1


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # PostgreSQL's ids are ids
async def test_an_id_that_is_no_id_is_quarantined_too(store: SqlStore) -> None:
    epoch = await taken(store)
    await store.commit([a_part(ALPHA, epoch, an_input())])
    await damage(store, tables.inputs, "sequence", 0, input_id="no id")
    (corrupt,) = (await store.activate(ALPHA, owner="worker-2", now=NOW)).corrupt
    part = Commit(ALPHA, epoch + 1, quarantined=(corrupt.input_id,))
    assert await store.commit([part]) == [CommitResult.COMMITTED]
    assert (await store.activate(ALPHA, owner="worker-2", now=NOW)).corrupt == ()


async def test_a_current_run_that_cannot_be_read_counts_as_lost(store: SqlStore) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    run = a_run(an_input())
    runtime = replace(stored.runtime, current_run_id=run.run_id)
    await store.commit([Commit(ALPHA, 1, Changes(runtime=runtime, runs=(run,)))])
    await damage(store, tables.runs, "runtime_id", ALPHA, batch="all of them")
    assert (await store.activate(ALPHA, owner="worker-1", now=NOW)).run is None


async def test_a_runtime_that_cannot_be_read_is_named_and_the_others_activate(
    store: SqlStore,
) -> None:
    await taken(store)
    await damage(store, tables.runtimes, "runtime_id", ALPHA, retry='{"failures":"x"}')
    with pytest.raises(DamagedRowError, match=r"row alpha of runtimes .*\$\.retry"):
        await taken(store)
    assert await taken(store, BETA) == 1


async def test_a_damaged_row_is_not_known_and_the_constraint_stands_behind_it(
    store: SqlStore,
) -> None:
    epoch, other = await taken(store), await taken(store, BETA)
    record, sound = an_input(), an_input()
    await store.commit([a_part(ALPHA, epoch, record), a_part(BETA, other, sound)])
    await damage(store, tables.inputs, "runtime_id", ALPHA, outcome="gone")
    lookups = [Lookup(ALPHA, (record.input_id,)), Lookup(BETA, (sound.input_id,))]
    of_alpha, of_beta = await store.known(lookups)
    assert of_alpha.inputs == {}
    assert list(of_beta.inputs) == [sound.input_id]
    assert await store.commit([a_part(ALPHA, epoch, record)]) == [CommitResult.FAILED]


async def test_a_damaged_timer_does_not_stop_the_others(store: SqlStore) -> None:
    for name in (ALPHA, BETA):
        timer = Timer(TimerKind.RETRY, NOW)
        part = Commit(name, await taken(store, name), Changes(timers={TimerKind.RETRY: timer}))
        await store.commit([part])
    await damage(store, tables.timers, "runtime_id", ALPHA, kind="alarm")
    due = await store.fire_timers(now=NOW + SECOND, limit=9)
    assert [one.runtime_id for one in due] == [BETA]


async def test_lists_show_what_they_can_and_name_what_they_cannot(store: SqlStore) -> None:
    epoch = await taken(store)
    records = [an_input(sequence) for sequence in range(3)]
    await store.commit([a_part(ALPHA, epoch, *records)])
    await damage(store, tables.inputs, "sequence", 1, lane="fast")
    page = await store.queries.inputs(ALPHA)
    assert [record.sequence for record in page.items] == [0, 2]
    assert [one.input_id for one in page.damaged] == [str(records[1].input_id)]
    with pytest.raises(DamagedRowError, match=r"\$\.lane"):
        await store.queries.input(ALPHA, records[1].input_id)
    assert await store.queries.input(ALPHA, new_id()) is None
    assert await store.queries.runtime(RuntimeId("gamma")) is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_damaged_epoch_fences_its_runtime_and_no_other(store: SqlStore) -> None:
    """PostgreSQL keeps nothing but numbers in a column of numbers."""
    epoch, other = await taken(store), await taken(store, BETA)
    await damage(store, tables.runtimes, "runtime_id", ALPHA, epoch=literal_column("x'00'"))
    parts = [a_part(ALPHA, epoch, an_input()), a_part(BETA, other, an_input())]
    assert await store.commit(parts) == [CommitResult.FENCED, CommitResult.COMMITTED]
