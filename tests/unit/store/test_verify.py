"""Verify: a sound store has no findings, and each rule is seen when it is broken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from schemas.lifecycle import InputState, RunState, RuntimeState
from schemas.outcomes import Consumed
from schemas.records import InputRecord, RunRecord, SnapshotRecord, Timer, TimerKind
from store.sql import SqlStore
from store.verify import PROMISES, Finding, Rule, verify
from tests.support.store import (
    ALPHA,
    DATABASES,
    NOW,
    a_part,
    a_receipt,
    a_run,
    an_empty_store,
    an_input,
    replace,
)


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """A sound store in which every rule has something to say."""
    async with an_empty_store(request, tmp_path) as opened:
        await _fill(opened)
        yield opened


async def _fill(store: SqlStore) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    over = a_run(state=RunState.COMPLETED, ended_at=NOW)
    consumed = _in_run(over, an_input(0, state=InputState.CONSUMED, outcome=Consumed()))
    on_accept = an_input(1, state=InputState.CONSUMED, outcome=Consumed(), lane=None)
    current = a_run(state=RunState.RUNNING)
    staged = _in_run(current, an_input(2, state=InputState.STAGED))
    over = replace(over, batch=(consumed.input_id,))
    current = replace(current, batch=(staged.input_id,))
    runtime = replace(
        stored.runtime,
        state=RuntimeState.RUNNING,
        current_run_id=current.run_id,
        next_sequence=4,
    )
    part = a_part(
        ALPHA,
        1,
        consumed,
        on_accept,
        staged,
        an_input(3),
        runtime=runtime,
        runs=(over, current),
        receipts=(a_receipt(over), a_receipt(over, 1)),
        snapshot=SnapshotRecord(over.run_id, 1, b"small", None, None),
        timers={TimerKind.RUN_LEASE: Timer(TimerKind.RUN_LEASE, NOW, current.run_id)},
    )
    await store.commit([part])


def _in_run(run: RunRecord, record: InputRecord) -> InputRecord:
    boundary = 0 if record.state is InputState.CONSUMED else None
    return replace(record, last_run_id=run.run_id, last_boundary_sequence=boundary)


async def _findings(store: SqlStore) -> list[Finding]:
    return [finding async for finding in verify(store.database)]


async def test_a_sound_store_has_no_findings(store: SqlStore) -> None:
    assert await _findings(store) == []


BREAKS = [
    (Rule.DECODABLE, "UPDATE inputs SET policy = '{' WHERE sequence = 3"),
    (Rule.DECODABLE, "UPDATE runs SET boundary = 'never' WHERE state = 'completed'"),
    (Rule.DECODABLE, "UPDATE receipts SET contributing_input_ids = '[' WHERE sequence = 1"),
    (Rule.CONSUMED_HAS_RECEIPT, "DELETE FROM receipts WHERE sequence = 0"),
    (Rule.CONSUMED_HAS_RECEIPT, "UPDATE receipts SET contributing_input_ids = '[]'"),
    (
        Rule.RECEIPT_IS_HEEDED,
        "UPDATE inputs SET state = 'queued', active = '1', outcome = NULL WHERE sequence = 0",
    ),
    (Rule.RECEIPTS_ARE_CONTIGUOUS, "UPDATE receipts SET sequence = 5 WHERE sequence = 1"),
    (Rule.RECEIPTS_ARE_CONTIGUOUS, "DELETE FROM receipts WHERE sequence = 0"),
    (Rule.RECEIPT_HAS_RUN, "DELETE FROM runs WHERE state = 'completed'"),
    (Rule.TERMINAL_RUNTIME_IS_EMPTY, "UPDATE runtimes SET state = 'stopped'"),
    (Rule.STATE_IS_ACTIVE, "UPDATE inputs SET active = '0' WHERE sequence = 3"),
    (Rule.STATE_IS_ACTIVE, "UPDATE inputs SET active = '1' WHERE sequence = 1"),
    (Rule.QUEUED_HAS_LANE, "UPDATE inputs SET lane = NULL WHERE sequence = 3"),
    (Rule.ENDED_HAS_OUTCOME, "UPDATE inputs SET outcome = NULL WHERE sequence = 1"),
    (
        Rule.ENDED_HAS_OUTCOME,
        'UPDATE inputs SET outcome = \'{"outcome_type":"consumed"}\' WHERE sequence = 3',
    ),
    (Rule.STAGED_IS_IN_RUN, "UPDATE runs SET batch = '[]' WHERE state = 'running'"),
    (Rule.STAGED_IS_IN_RUN, "UPDATE runtimes SET current_run_id = NULL"),
    (Rule.ONE_CURRENT_RUN, "UPDATE runs SET state = 'running'"),
    (Rule.RUNNING_HAS_RUN, "UPDATE runtimes SET current_run_id = NULL"),
    (Rule.RUNNING_HAS_RUN, "UPDATE runs SET state = 'failed' WHERE state = 'running'"),
    (Rule.SEQUENCE_IS_UNIQUE, "UPDATE inputs SET sequence = 2 WHERE sequence = 3"),
    (Rule.SEQUENCE_IS_COUNTED, "UPDATE runtimes SET next_sequence = 3"),
    (Rule.ROW_HAS_RUNTIME, "DELETE FROM runtimes"),
    (Rule.ROW_HAS_RUNTIME, "UPDATE timers SET runtime_id = 'nobody'"),
]


@pytest.mark.parametrize(("rule", "sabotage"), BREAKS)
async def test_a_broken_rule_is_found_and_said_in_words(
    store: SqlStore, rule: Rule, sabotage: str
) -> None:
    async with store.database.writing() as connection:
        await connection.execute(text(sabotage))
    found = {finding.rule: finding for finding in await _findings(store)}
    assert rule in found
    assert PROMISES[rule] in found[rule].sentence
    assert found[rule].runtime_id in {ALPHA, "nobody"}


def test_every_rule_is_broken_once_here() -> None:
    assert {rule for rule, _ in BREAKS} == set(Rule)
