"""Flat cost: what a runtime has been through costs its activation nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from store.ports import Lookup
from store.sql import SqlStore
from tests.support.store import (
    ALPHA,
    DATABASES,
    NOW,
    a_part,
    an_empty_store,
    an_input,
    new_id,
    taken,
)

PAST = 100_000
_PAST = {
    "sqlite": """
        INSERT INTO inputs (runtime_id, input_id, sequence, kind, durability, state, active,
          payload_digest, attempt_count, recovery_count, created_at, updated_at, history)
        WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < :past)
        SELECT 'alpha', printf('00000000-0000-4000-8000-%012d', i), i, 'prompt', 'durable',
          'consumed', :no, 'd', 1, 0, one.created_at, one.updated_at, '[]'
        FROM n, (SELECT created_at, updated_at FROM inputs LIMIT 1) AS one
    """,
    "postgresql": """
        INSERT INTO inputs (runtime_id, input_id, sequence, kind, durability, state, active,
          payload_digest, attempt_count, recovery_count, created_at, updated_at, history)
        SELECT 'alpha', CAST('00000000-0000-4000-8000-' || lpad(CAST(i AS text), 12, '0') AS uuid),
          i, 'prompt', 'durable', 'consumed', :no, 'd', 1, 0, one.created_at, one.updated_at, '[]'
        FROM generate_series(10, :past) AS n(i),
          (SELECT created_at, updated_at FROM inputs LIMIT 1) AS one
    """,
}


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """A store with one runtime that has three active inputs and a long past."""
    async with an_empty_store(request, tmp_path) as opened:
        epoch = await taken(opened)
        await opened.commit([a_part(ALPHA, epoch, *(an_input(number) for number in range(3)))])
        async with opened.database.writing() as connection:
            await connection.execute(text(_PAST[request.param]), {"past": PAST, "no": False})
        yield opened


async def _plan(store: SqlStore, query: str) -> str:
    explain = "EXPLAIN QUERY PLAN " if "sqlite" in store.database.dialect.name else "EXPLAIN "
    async with store.database.reading() as connection:
        rows = await connection.execute(text(explain + query))
        return "\n".join(" ".join(str(cell) for cell in row) for row in rows)


async def test_active_inputs_are_found_through_the_index_that_holds_no_others(
    store: SqlStore,
) -> None:
    plan = await _plan(
        store,
        "SELECT * FROM inputs WHERE inputs.runtime_id = 'alpha' AND active "
        "ORDER BY inputs.sequence, inputs.input_id LIMIT 2000",
    )
    assert "inputs_active" in plan
    assert "SCAN inputs" not in plan
    assert "Seq Scan" not in plan


async def test_a_long_past_costs_an_activation_nothing(store: SqlStore) -> None:
    assert len((await store.activate(ALPHA, owner="worker-1", now=NOW)).inputs) == 3
    assert await _best(lambda: store.activate(ALPHA, owner="worker-1", now=NOW)) < 0.1


async def test_a_page_of_a_long_list_costs_a_page(store: SqlStore) -> None:
    first = await store.queries.inputs(ALPHA, limit=20)
    assert [record.sequence for record in first.items] == [0, 1, 2, *range(10, 27)]
    second = await store.queries.inputs(ALPHA, limit=20, after=first.next)
    assert [record.sequence for record in second.items] == list(range(27, 47))
    last = await store.queries.inputs(ALPHA, limit=20, newest_first=True)
    assert [record.sequence for record in last.items] == list(range(PAST, PAST - 20, -1))
    assert await _best(lambda: store.queries.inputs(ALPHA, limit=20, after=first.next)) < 0.1
    assert await _best(store.queries.runtimes) < 0.1


async def test_a_lookup_among_many_inputs_takes_its_index(store: SqlStore) -> None:
    active = (await store.activate(ALPHA, owner="worker-1", now=NOW)).inputs
    known = {record.input_id for record in active}
    lookup = Lookup(ALPHA, (*known, *(new_id() for _ in range(997))))
    (found,) = await store.known([lookup])
    assert found.inputs.keys() == known
    assert await _best(lambda: store.known([lookup])) < 0.1


async def _best(call: Callable[[], Awaitable[object]]) -> float:
    """Tell the seconds of the fastest of a few calls: the others measure the machine."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
