"""A dry run says what a redrive would do, and writes nothing: on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from schemas.commands import Command, Destroy, Retire
from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.envelope import CommandMessage, InputMessage
from schemas.ids import RuntimeId
from schemas.inputs import Input
from schemas.outcomes import EXHAUSTED
from store import tables
from store.dead_letters import LetterFilter
from store.ports import Commit
from store.sql import SqlStore
from tests.support.store import DATABASES, NOW, a_letter, an_empty_store, new_id, replace
from worker.broker.topology import Topology
from worker.client import Prompt
from worker.dead_letters.dry_run import DryRun, Rehearsal, Verdict
from worker.driver.arrival import Arrival
from worker.driver.options import DriverOptions
from worker.driver.recovery import recover

ADA, GRACE, GONE = RuntimeId("ada"), RuntimeId("grace"), RuntimeId("gone")


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Each database in turn: ada has a waiting input, grace is retired, gone is destroyed."""
    async with an_empty_store(request, tmp_path) as opened:
        await _furnish(opened)
        yield opened


WAITING = Prompt("waits", key="k-1", timestamp=NOW).to_input()
EXHAUSTED_ONE = Prompt("gave up", timestamp=NOW).to_input()


def of(item: Input, runtime_id: RuntimeId | None = ADA, **changed: Any) -> DeadLetter:  # noqa: ANN401
    """A letter of an input, as a worker would have written it."""
    message_id = str(item.header.id)
    properties = {"message_id": message_id, "type": "input"}
    body = msgspec.json.encode(item)
    letter = a_letter(runtime_id, message_id=message_id, properties=properties, body=body)
    return replace(letter, **changed)


CASES: dict[str, tuple[DeadLetter, Verdict, DeadLetterReason | None]] = {
    "new": (of(Prompt("new").to_input()), Verdict.PROCESSED, None),
    "first of its runtime": (
        of(Prompt("new").to_input(), RuntimeId("new")),
        Verdict.PROCESSED,
        None,
    ),
    "known": (of(WAITING), Verdict.PROCESSED, None),
    "known by its key": (of(Prompt("again", key="k-1").to_input()), Verdict.PROCESSED, None),
    "exhausted": (of(EXHAUSTED_ONE), Verdict.PROCESSED, None),
    "malformed": (
        of(WAITING, body=b'{"input_type": "wish"}'),
        Verdict.DIES_AGAIN,
        DeadLetterReason.MALFORMED,
    ),
    "conflict": (
        of(WAITING, body=msgspec.json.encode(replace(WAITING, text="other"))),
        Verdict.DIES_AGAIN,
        DeadLetterReason.CONFLICT,
    ),
    "retired": (
        of(Prompt("late").to_input(), GRACE),
        Verdict.DIES_AGAIN,
        DeadLetterReason.NOT_READY,
    ),
    "destroyed": (of(Prompt("late").to_input(), GONE), Verdict.REFUSED, None),
    "nowhere": (of(WAITING, None), Verdict.REFUSED, None),
    "another queue": (
        of(Prompt("old").to_input(), None, source_queue="legacy"),
        Verdict.LEAVES,
        None,
    ),
}


@pytest.mark.parametrize("what", CASES)
async def test_it_foretells_the_end_of_a_letter(store: SqlStore, what: str) -> None:
    letter, verdict, reason = CASES[what]
    tried = await _tried(store, letter)
    assert (tried.verdict, tried.reason) == (verdict, reason), tried
    assert tried.detail or verdict is Verdict.PROCESSED


async def test_it_writes_nothing(store: SqlStore) -> None:
    for letter, _, _ in CASES.values():
        await store.commit([Commit(None, 0, dead_letters=(letter,))])
    before = await _everything(store)
    results = [one async for one in _rehearsal(store).group(LetterFilter(), **_AT, limit=100)]
    assert len(results) == len(CASES)
    assert await _everything(store) == before


async def test_it_shows_what_would_change(store: SqlStore) -> None:
    new = Prompt("new").to_input()
    tried = await _tried(store, of(new))
    assert f"input {new.header.id}: queued in lane queue, sequence 2: new" in tried.changes
    back = await _tried(store, of(EXHAUSTED_ONE))
    assert f"input {EXHAUSTED_ONE.header.id}: queued in lane queue, sequence 2" in back.changes
    first = await _tried(store, of(new, RuntimeId("new")))
    assert "a run over 1 inputs begins" in first.changes


async def test_a_group_is_tried_as_far_as_it_was_asked_for(store: SqlStore) -> None:
    letters = [of(Prompt(f"number {n}").to_input()) for n in range(5)]
    await store.commit([Commit(None, 0, dead_letters=(letter,)) for letter in letters])
    wanted = LetterFilter(fingerprint=letters[0].fingerprint)
    results = [one async for one in _rehearsal(store).group(wanted, **_AT, limit=3)]
    assert [one.letter_id for one in results] == [letter.id for letter in letters[:3]]


_AT: dict[str, Any] = {"now": NOW, "run_id": new_id()}


def _rehearsal(store: SqlStore) -> Rehearsal:
    return Rehearsal(store, Topology(), DriverOptions(), 1024 * 1024)


async def _tried(store: SqlStore, letter: DeadLetter) -> DryRun:
    await store.commit([Commit(None, 0, dead_letters=(letter,))])
    found = await store.dead_letters.get(letter.id)
    assert found is not None
    return await _rehearsal(store).letter(*found, **_AT)


async def _everything(store: SqlStore) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    async with store.database.reading() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in await connection.execute(select(table))), key=repr
            )
            for table in tables.metadata.sorted_tables
        }


async def _furnish(store: SqlStore) -> None:
    await _live(store, ADA, WAITING, EXHAUSTED_ONE)
    async with store.database.writing() as connection:
        # Given up in a run that nobody saw.
        await connection.execute(
            tables.inputs.update()
            .where(tables.inputs.c.sequence == 1)
            .values(state="abandoned", active=False, lane=None, outcome=_OUTCOME)
        )
    await _live(store, GRACE, Retire(new_id()))
    await _live(store, GONE, Destroy(new_id()))


_OUTCOME = msgspec.json.encode(EXHAUSTED).decode()


async def _live(store: SqlStore, runtime_id: RuntimeId, *told: Input | Command) -> None:
    """Let a runtime take inputs and commands, and commit what becomes of it."""
    stored = await store.activate(runtime_id, owner="worker-1", now=NOW)
    driver = recover(stored, now=NOW, options=DriverOptions()).driver
    payloads = {}
    for one in told:
        if isinstance(one, Input):
            payloads[one.header.id] = msgspec.json.encode(one)
            driver.apply(InputMessage(runtime_id, one), Arrival(NOW))
        else:
            driver.apply(CommandMessage(runtime_id, one), Arrival(NOW))
    await store.commit([Commit(runtime_id, 1, driver.take(), payloads)])
