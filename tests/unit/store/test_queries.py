"""What people ask about runtimes: lists that go on where they ended, and counts that add up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from schemas.ids import RuntimeId
from schemas.lifecycle import InputState, RunState, RuntimeState
from schemas.outcomes import Consumed
from schemas.records import Changes, Timer, TimerKind
from store.paging import CursorError, Page
from store.ports import Commit
from store.queries import RuntimeFilter, StoredInput
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
    a_receipt,
    a_run,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)

T = TypeVar("T")


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def every(ask: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    """Go through all pages of a list."""
    found: list[T] = []
    after: str | None = None
    while True:
        page = await ask(after)
        found.extend(page.items)
        if page.next is None:
            return found
        after = page.next


async def test_runtimes_are_listed_by_their_ids_page_by_page(store: SqlStore) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(7)]
    await store.register(names[::-1], now=NOW)
    listed = await every(lambda after: store.queries.runtimes(limit=3, after=after))
    assert [one.runtime_id for one in listed] == names
    exact = await every(lambda after: store.queries.runtimes(limit=7, after=after))
    assert exact == listed


async def test_a_runtime_shows_how_many_inputs_wait_and_how_many_are_in_its_run(
    store: SqlStore,
) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    await store.register([BETA], now=NOW)
    staged = [an_input(number, state=InputState.STAGED) for number in (0, 1)]
    applied = an_input(2, state=InputState.APPLIED)
    waiting = [an_input(3), an_input(4, state=InputState.ACCEPTED)]
    ended = an_input(5, state=InputState.CONSUMED, outcome=Consumed())
    run = a_run(*staged, applied, state=RunState.RUNNING)
    runtime = replace(stored.runtime, state=RuntimeState.RUNNING, current_run_id=run.run_id)
    lease = Timer(TimerKind.RUN_LEASE, NOW + SECOND, run.run_id)
    inserted = (*staged, applied, *waiting, ended)
    changes = {"runtime": runtime, "runs": (run,), "timers": {TimerKind.RUN_LEASE: lease}}
    await store.commit([a_part(ALPHA, 1, *inserted, **changes)])
    alpha, beta = (await store.queries.runtimes()).items
    assert (alpha.waiting, alpha.in_run, alpha.current_run_id) == (2, 3, run.run_id)
    assert (alpha.state, alpha.epoch, alpha.owner) == (RuntimeState.RUNNING, 1, "worker-1")
    assert (beta.waiting, beta.in_run, beta.owner) == (0, 0, None)
    details = await store.queries.runtime(ALPHA)
    assert details is not None
    assert details.runtime == runtime
    assert (details.run, details.timers, details.owner) == (run, (lease,), "worker-1")
    assert details.active[InputState.STAGED] == 2
    assert InputState.CONSUMED not in details.active


async def test_runtimes_are_filtered_by_state_owner_and_prefix(store: SqlStore) -> None:
    await taken(store)
    await store.register([BETA, RuntimeId("al_x"), RuntimeId("alx")], now=NOW)

    async def ids(**wanted: object) -> list[str]:
        page = await store.queries.runtimes(RuntimeFilter(**wanted))  # type: ignore[arg-type]
        return [one.runtime_id for one in page.items]

    assert await ids(owner="worker-1") == [ALPHA]
    assert await ids(state=RuntimeState.RETIRED) == []
    assert await ids(prefix="al_") == ["al_x"]
    assert await ids(prefix="al", state=RuntimeState.IDLE) == ["al_x", "alpha", "alx"]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_inputs_are_listed_in_admission_order_or_backwards(
    store: SqlStore, newest_first: bool
) -> None:
    epoch = await taken(store)
    states = [InputState.QUEUED, InputState.CONSUMED, InputState.STAGED]
    records = [an_input(number, state=states[number % 3]) for number in range(11)]
    await store.commit([a_part(ALPHA, epoch, *records)])
    listed = await every(
        lambda after: store.queries.inputs(ALPHA, limit=4, after=after, newest_first=newest_first)
    )
    assert listed == (records[::-1] if newest_first else records)


async def test_inputs_are_filtered_by_their_states(store: SqlStore) -> None:
    epoch = await taken(store)
    states = [InputState.QUEUED, InputState.CONSUMED, InputState.STAGED, InputState.ABANDONED]
    await store.commit(
        [a_part(ALPHA, epoch, *(an_input(n, state=s) for n, s in enumerate(states)))]
    )

    async def found(*wanted: InputState) -> list[int]:
        page = await store.queries.inputs(ALPHA, states=frozenset(wanted))
        return [record.sequence for record in page.items]

    assert await found(InputState.QUEUED) == [0]
    assert await found(InputState.QUEUED, InputState.STAGED) == [0, 2]
    assert await found(InputState.ABANDONED, InputState.STAGED) == [2, 3]
    assert await found() == []


async def test_one_input_comes_with_its_payload_and_history(store: SqlStore) -> None:
    epoch = await taken(store)
    record = an_input(3)
    await store.commit([a_part(ALPHA, epoch, record)])
    found = await store.queries.input(ALPHA, record.input_id)
    assert found == StoredInput(record, b'{"n":3}')
    assert await store.queries.input(BETA, record.input_id) is None


async def test_runs_are_listed_latest_first_and_receipts_by_run_and_sequence(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    runs = [a_run(requested_at=NOW + SECOND * number) for number in range(5)]
    receipts = [a_receipt(run, sequence) for run in runs for sequence in range(3)]
    changes = Changes(runs=tuple(runs[::-1]), receipts=tuple(receipts[::-1]))
    await store.commit([Commit(ALPHA, epoch, changes)])
    listed = await every(lambda after: store.queries.runs(ALPHA, limit=2, after=after))
    assert listed == runs[::-1]
    found = await every(lambda after: store.queries.receipts(ALPHA, limit=4, after=after))
    assert found == receipts
    only = await store.queries.receipts(ALPHA, run_id=runs[1].run_id)
    assert list(only.items) == receipts[3:6]


async def test_counts_are_those_of_the_rows(store: SqlStore) -> None:
    empty = await store.queries.counts()
    assert (empty.runtimes, empty.outbox, empty.outbox_oldest) == ({}, 0, None)
    epoch = await taken(store)
    await store.register([BETA], now=NOW)
    records = [an_input(0), an_input(1), an_input(2, state=InputState.CONSUMED)]
    part = replace(
        a_part(ALPHA, epoch, *records),
        outbox=(a_message(), a_message(created_at=NOW - SECOND)),
        dead_letters=(a_letter(),),
    )
    await store.commit([part])
    counts = await store.queries.counts()
    assert counts.runtimes == {"idle": 2}
    assert counts.active_inputs == {"queued": 2}
    assert counts.dead_letters == {"malformed": 1}
    assert (counts.outbox, counts.outbox_oldest, counts.timers) == (2, NOW - SECOND, 0)


@pytest.mark.parametrize("cursor", ["?", "bm9uc2Vuc2U", "WzFd", "WyJhIiwiYiJd"])
async def test_a_cursor_of_no_page_is_refused_in_words(store: SqlStore, cursor: str) -> None:
    with pytest.raises(CursorError, match="expected a cursor"):
        await store.queries.inputs(ALPHA, after=cursor)


async def test_what_is_not_there_is_empty(store: SqlStore) -> None:
    assert (await store.queries.inputs(ALPHA)).items == ()
    assert (await store.queries.runs(ALPHA)).items == ()
    assert (await store.queries.receipts(ALPHA, run_id=new_id())).items == ()
    assert await store.queries.runtime(ALPHA) is None
