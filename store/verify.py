"""Verify: prove a store against its receipts, offline. Reads everything and writes nothing.

Each rule is one query for what must not be there: millions of rows are proved by the database and
not in memory. Rows that nothing can decode are found by decoding them all.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, Table, Text, cast, exists, func, not_, or_, select
from sqlalchemy import tuple_ as pair
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.lifecycle import (
    ENDED_RUN_STATES,
    TERMINAL_INPUT_STATES,
    TERMINAL_RUNTIME_STATES,
    InputState,
    RuntimeState,
)
from store import codec
from store.codec import READ_ERRORS
from store.engine import Database, named
from store.tables import commands, inputs, is_active, receipts, runs, runtimes, snapshots, timers

CHUNK: Final = 5000
"""Rows decoded at once."""

MOST: Final = 1000
"""Findings of one rule: more of the same say nothing more."""


class Rule(enum.StrEnum):
    """What must hold. Closed."""

    DECODABLE = "decodable"
    CONSUMED_HAS_RECEIPT = "consumed_has_receipt"
    RECEIPT_IS_HEEDED = "receipt_is_heeded"
    RECEIPTS_ARE_CONTIGUOUS = "receipts_are_contiguous"
    RECEIPT_HAS_RUN = "receipt_has_run"
    TERMINAL_RUNTIME_IS_EMPTY = "terminal_runtime_is_empty"
    STATE_IS_ACTIVE = "state_is_active"
    QUEUED_HAS_LANE = "queued_has_lane"
    ENDED_HAS_OUTCOME = "ended_has_outcome"
    STAGED_IS_IN_RUN = "staged_is_in_run"
    ONE_CURRENT_RUN = "one_current_run"
    RUNNING_HAS_RUN = "running_has_run"
    SEQUENCE_IS_UNIQUE = "sequence_is_unique"
    SEQUENCE_IS_COUNTED = "sequence_is_counted"
    ROW_HAS_RUNTIME = "row_has_runtime"


PROMISES: Final[dict[Rule, str]] = {
    Rule.DECODABLE: "a row is what its table says",
    Rule.CONSUMED_HAS_RECEIPT: "an input that a run consumed has a receipt that names it",
    Rule.RECEIPT_IS_HEEDED: "an input with a receipt of its last run does not wait any more",
    Rule.RECEIPTS_ARE_CONTIGUOUS: "the receipts of a run count from 0 without a gap",
    Rule.RECEIPT_HAS_RUN: "a receipt belongs to a run that is stored",
    Rule.TERMINAL_RUNTIME_IS_EMPTY: "a stopped or destroyed runtime has no active inputs",
    Rule.STATE_IS_ACTIVE: "an input is marked active exactly while its state is not terminal",
    Rule.QUEUED_HAS_LANE: "an input that is queued or in a run has a lane",
    Rule.ENDED_HAS_OUTCOME: "an input has an outcome exactly when it has ended",
    Rule.STAGED_IS_IN_RUN: "an input that is staged or applied is in its runtime's current run",
    Rule.ONE_CURRENT_RUN: "a run that has not ended is its runtime's current run",
    Rule.RUNNING_HAS_RUN: "a runtime's current run is stored, and a running runtime has one",
    Rule.SEQUENCE_IS_UNIQUE: "no two inputs of a runtime have one admission sequence",
    Rule.SEQUENCE_IS_COUNTED: "a runtime's next sequence is above all that it gave",
    Rule.ROW_HAS_RUNTIME: "every row belongs to a runtime that is stored",
}


class Finding(msgspec.Struct, frozen=True):
    """A rule that does not hold: where, and the row that shows it."""

    rule: Rule
    runtime_id: str
    subject: str
    sentence: str


async def verify(opened: Database) -> AsyncIterator[Finding]:
    """Check every rule, in one moment of the database.

    Raises:
        StoreUnavailableError: The database cannot be reached.
    """
    async with opened.reading() as connection:
        for kind in _KINDS:
            async for finding in _damaged(connection, kind):
                yield finding
        for rule, query in _RULES.items():
            for found in _queries(query):
                for row in named(await connection.execute(found.limit(MOST))):
                    yield _finding(rule, str(row["runtime_id"]), str(row["subject"]))


def _finding(rule: Rule, runtime_id: str, subject: str, detail: str = "") -> Finding:
    fault = f" ({detail})" if detail else ""
    return Finding(rule, runtime_id, subject, f"{subject}: broken: {PROMISES[rule]}{fault}")


# --- rows that can be read -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of row, and how it is read."""

    table: Table
    read: Callable[[dict[str, Any]], object]
    without: str = ""

    @property
    def columns(self) -> list[ColumnElement[Any]]:
        return [column for column in self.table.c if column.name != self.without]


def _read_outcome(values: dict[str, Any]) -> object:
    return codec.read_object(values["outcome"])


_KINDS: Final = (
    _Kind(runtimes, codec.read_runtime),
    _Kind(inputs, codec.read_input, without="payload"),
    _Kind(runs, codec.read_run),
    _Kind(receipts, codec.read_receipt),
    _Kind(commands, _read_outcome),
    _Kind(snapshots, codec.read_snapshot, without="data"),
    _Kind(timers, codec.read_timer),
)


async def _damaged(connection: AsyncConnection, kind: _Kind) -> AsyncIterator[Finding]:
    async for row in _rows(connection, kind):
        try:
            kind.read({"data": None, **row})
        except READ_ERRORS as error:
            key = ", ".join(str(row[column.name]) for column in kind.table.primary_key.columns)
            subject = f"{kind.table.name} {key}"
            yield _finding(Rule.DECODABLE, str(row["runtime_id"]), subject, codec.fault(error))


async def _rows(connection: AsyncConnection, kind: _Kind) -> AsyncIterator[dict[str, Any]]:
    key = list(kind.table.primary_key.columns)
    query = select(*kind.columns).order_by(*key).limit(CHUNK)
    after = query
    while True:
        rows = named(await connection.execute(after))
        for row in rows:
            yield row
        if len(rows) < CHUNK:
            return
        last = [rows[-1][column.name] for column in key]
        after = query.where(pair(*key) > tuple(last))


# --- rules between rows --------------------------------------------------------------------------

_Query = Select[Any]

_IN_RUN: Final = [
    InputState.STAGED.value,
    InputState.APPLIED.value,
    InputState.APPLIED_PENDING_CONSUMPTION.value,
]
_WAITING: Final = [InputState.ACCEPTED.value, InputState.QUEUED.value, InputState.STAGED.value]
_ENDED_INPUT: Final = sorted(state.value for state in TERMINAL_INPUT_STATES)
_ENDED_RUN: Final = sorted(state.value for state in ENDED_RUN_STATES)
_ENDED_RUNTIME: Final = sorted(state.value for state in TERMINAL_RUNTIME_STATES)


def _subject(table: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return (f"{table} " + cast(column, Text)).label("subject")


def _inputs(*where: ColumnElement[bool]) -> _Query:
    return select(inputs.c.runtime_id, _subject("input", inputs.c.input_id)).where(*where)


def _runtimes(*where: ColumnElement[bool]) -> _Query:
    return select(runtimes.c.runtime_id, _subject("runtime", runtimes.c.runtime_id)).where(*where)


def _names_it() -> ColumnElement[bool]:
    """The receipt's list names the input: ids have one length, so that text is enough."""
    return receipts.c.contributing_input_ids.contains(cast(inputs.c.input_id, Text))


def _consumed_has_receipt() -> _Query:
    proof = exists().where(
        receipts.c.runtime_id == inputs.c.runtime_id,
        receipts.c.run_id == inputs.c.last_run_id,
        receipts.c.sequence == inputs.c.last_boundary_sequence,
        _names_it(),
    )
    return _inputs(
        inputs.c.state == InputState.CONSUMED.value, inputs.c.last_run_id.is_not(None), ~proof
    )


def _receipt_is_heeded() -> _Query:
    proof = exists().where(
        receipts.c.runtime_id == inputs.c.runtime_id,
        receipts.c.run_id == inputs.c.last_run_id,
        _names_it(),
    )
    return _inputs(is_active, inputs.c.state.in_(_WAITING), proof)


def _receipts_are_contiguous() -> _Query:
    count = func.count()
    gap = or_(func.min(receipts.c.sequence) != 0, func.max(receipts.c.sequence) != count - 1)
    return (
        select(receipts.c.runtime_id, _subject("run", receipts.c.run_id))
        .group_by(receipts.c.runtime_id, receipts.c.run_id)
        .having(gap)
    )


def _receipt_has_run() -> _Query:
    run = exists().where(
        runs.c.runtime_id == receipts.c.runtime_id, runs.c.run_id == receipts.c.run_id
    )
    return select(receipts.c.runtime_id, _subject("run", receipts.c.run_id)).where(~run).distinct()


def _terminal_runtime_is_empty() -> _Query:
    waiting = exists().where(inputs.c.runtime_id == runtimes.c.runtime_id, is_active)
    return _runtimes(runtimes.c.state.in_(_ENDED_RUNTIME), waiting)


def _state_is_active() -> _Query:
    ended = inputs.c.state.in_(_ENDED_INPUT)
    return _inputs(or_(is_active & ended, not_(is_active) & ~ended))


def _queued_has_lane() -> _Query:
    return _inputs(
        is_active,
        inputs.c.state.in_([InputState.QUEUED.value, *_IN_RUN]),
        inputs.c.lane.is_(None),
    )


def _ended_has_outcome() -> _Query:
    without = inputs.c.outcome.is_(None)
    return _inputs(or_(is_active & ~without, not_(is_active) & without))


def _staged_is_in_run() -> _Query:
    current = exists().where(
        runtimes.c.runtime_id == inputs.c.runtime_id,
        runtimes.c.current_run_id == inputs.c.last_run_id,
        runs.c.runtime_id == inputs.c.runtime_id,
        runs.c.run_id == inputs.c.last_run_id,
        runs.c.batch.contains(cast(inputs.c.input_id, Text)),
    )
    return _inputs(is_active, inputs.c.state.in_(_IN_RUN), ~current)


def _one_current_run() -> _Query:
    current = exists().where(
        runtimes.c.runtime_id == runs.c.runtime_id, runtimes.c.current_run_id == runs.c.run_id
    )
    going_on = runs.c.state.not_in(_ENDED_RUN)
    return select(runs.c.runtime_id, _subject("run", runs.c.run_id)).where(going_on, ~current)


def _running_has_run() -> _Query:
    live = exists().where(
        runs.c.runtime_id == runtimes.c.runtime_id,
        runs.c.run_id == runtimes.c.current_run_id,
        runs.c.state.not_in(_ENDED_RUN),
    )
    running = runtimes.c.state == RuntimeState.RUNNING.value
    named_run = runtimes.c.current_run_id.is_not(None)
    return _runtimes(or_(running, named_run), ~live)


def _sequence_is_unique() -> _Query:
    return (
        select(inputs.c.runtime_id, _subject("sequence", inputs.c.sequence))
        .group_by(inputs.c.runtime_id, inputs.c.sequence)
        .having(func.count() > 1)
    )


def _sequence_is_counted() -> _Query:
    above = exists().where(
        inputs.c.runtime_id == runtimes.c.runtime_id,
        inputs.c.sequence >= runtimes.c.next_sequence,
    )
    return _runtimes(above)


def _row_has_runtime() -> tuple[_Query, ...]:
    tables = (inputs, runs, receipts, commands, snapshots, timers)
    return tuple(
        select(table.c.runtime_id, _subject(table.name, table.c.runtime_id))
        .where(~exists().where(runtimes.c.runtime_id == table.c.runtime_id))
        .distinct()
        for table in tables
    )


_RULES: Final[dict[Rule, Callable[[], _Query | tuple[_Query, ...]]]] = {
    Rule.CONSUMED_HAS_RECEIPT: _consumed_has_receipt,
    Rule.RECEIPT_IS_HEEDED: _receipt_is_heeded,
    Rule.RECEIPTS_ARE_CONTIGUOUS: _receipts_are_contiguous,
    Rule.RECEIPT_HAS_RUN: _receipt_has_run,
    Rule.TERMINAL_RUNTIME_IS_EMPTY: _terminal_runtime_is_empty,
    Rule.STATE_IS_ACTIVE: _state_is_active,
    Rule.QUEUED_HAS_LANE: _queued_has_lane,
    Rule.ENDED_HAS_OUTCOME: _ended_has_outcome,
    Rule.STAGED_IS_IN_RUN: _staged_is_in_run,
    Rule.ONE_CURRENT_RUN: _one_current_run,
    Rule.RUNNING_HAS_RUN: _running_has_run,
    Rule.SEQUENCE_IS_UNIQUE: _sequence_is_unique,
    Rule.SEQUENCE_IS_COUNTED: _sequence_is_counted,
    Rule.ROW_HAS_RUNTIME: _row_has_runtime,
}
if _RULES.keys() | {Rule.DECODABLE} != set(Rule) or PROMISES.keys() != set(Rule):
    raise AssertionError("a rule without a check or a promise")


def _queries(make: Callable[[], _Query | tuple[_Query, ...]]) -> Sequence[_Query]:
    made = make()
    return made if isinstance(made, tuple) else (made,)
