"""Queries, for people: what the runtimes are, what waits in them, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    UnaryExpression,
    func,
    not_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.ids import InputId, RunId, RuntimeId
from schemas.lifecycle import InputState, RuntimeState
from schemas.records import (
    InputRecord,
    ReceiptRecord,
    RunRecord,
    RuntimeRecord,
    Timer,
)
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.errors import DamagedRowError
from store.paging import MOST, Page, key_of, page
from store.tables import dead_letters, inputs, is_active, outbox, receipts, runs, runtimes, timers

WAITING: Final = frozenset({InputState.ACCEPTED, InputState.QUEUED})
ACTIVE: Final = frozenset(state for state in InputState if not state.is_terminal)


class RuntimeSummary(msgspec.Struct, frozen=True):
    """A runtime at a glance: ``waiting`` inputs are in its lanes, ``in_run`` ones in its run."""

    runtime_id: RuntimeId
    state: RuntimeState
    epoch: int
    owner: str | None
    waiting: int
    in_run: int
    current_run_id: RunId | None
    paused: bool
    created_at: datetime
    updated_at: datetime


class RuntimeFilter(msgspec.Struct, frozen=True):
    """Which runtimes are meant; None means any."""

    state: RuntimeState | None = None
    owner: str | None = None
    prefix: str | None = None


ANY_RUNTIME: Final = RuntimeFilter()


class RuntimeDetails(msgspec.Struct, frozen=True):
    """A runtime, whole: its row, its owner, its active inputs by state, its run and its timers."""

    runtime: RuntimeRecord
    owner: str | None
    active: dict[InputState, int]
    run: RunRecord | None
    timers: tuple[Timer, ...]


class StoredInput(msgspec.Struct, frozen=True):
    """An input with its payload, JSON; None if it has none."""

    record: InputRecord
    payload: bytes | None


class StoreCounts(msgspec.Struct, frozen=True):
    """What the store holds, for metrics. All by current state, open letters only."""

    runtimes: dict[str, int]
    active_inputs: dict[str, int]
    dead_letters: dict[str, int]
    outbox: int
    outbox_oldest: datetime | None
    timers: int


_WITHOUT_PAYLOAD: Final = [column for column in inputs.c if column.name != "payload"]


@dataclass(frozen=True, slots=True)
class Queries:
    """Reads that cost nothing to the workers: each sees one moment and writes nothing."""

    database: Database
    codec: Codec

    async def runtimes(
        self, wanted: RuntimeFilter = ANY_RUNTIME, *, limit: int = 50, after: str | None = None
    ) -> Page[RuntimeSummary]:
        """List runtimes by their ids."""
        limit = min(limit, MOST)
        query = select(runtimes).where(*runtimes_meant(wanted))
        if after is not None:
            query = query.where(runtimes.c.runtime_id > key_of(after, tuple[str])[0])
        async with self.database.reading() as connection:
            query = query.order_by(runtimes.c.runtime_id).limit(limit + 1)
            rows = named(await connection.execute(query))
            counts = await self._active(connection, [row["runtime_id"] for row in rows])
        return page(
            rows,
            limit,
            read=lambda row: _summary(row, counts.get(row["runtime_id"], {})),
            key=("runtime_id",),
        )

    async def runtime(self, runtime_id: RuntimeId) -> RuntimeDetails | None:
        """Read one runtime, whole; None if there is no such runtime."""
        async with self.database.reading() as connection:
            rows = await _of(connection, select(runtimes), runtimes.c.runtime_id, runtime_id)
            if not rows:
                return None
            counts = await self._active(connection, [runtime_id])
            due = await _of(connection, select(timers), timers.c.runtime_id, runtime_id)
            current = select(runs).where(runs.c.run_id == rows[0]["current_run_id"])
            run = await _of(connection, current, runs.c.runtime_id, runtime_id)
        try:
            return RuntimeDetails(
                runtime=codec.read_runtime(rows[0]),
                owner=rows[0]["owner"],
                active=counts.get(runtime_id, {}),
                run=codec.read_run(run[0]) if run else None,
                timers=tuple(codec.read_timer(row) for row in due),
            )
        except READ_ERRORS as error:
            raise DamagedRowError("runtimes", runtime_id, codec.fault(error)) from error

    async def inputs(
        self,
        runtime_id: RuntimeId,
        *,
        states: frozenset[InputState] | None = None,
        limit: int = 50,
        after: str | None = None,
        newest_first: bool = False,
    ) -> Page[InputRecord]:
        """List inputs of a runtime in admission order, or the other way round."""
        limit = min(limit, MOST)
        where = [inputs.c.runtime_id == runtime_id]
        if after is not None:
            sequence, input_id = key_of(after, tuple[int, UUID])
            order = tuple_(inputs.c.sequence, inputs.c.input_id)
            key = (sequence, self.codec.uuid(input_id))
            where.append(order < key if newest_first else order > key)

        # Each half is cut on its own: its index then ends the reading after a page.
        order_by = _ordered(inputs, newest_first=newest_first)
        halves = [
            select(
                select(*_WITHOUT_PAYLOAD)
                .where(*where, *half)
                .order_by(*order_by)
                .limit(limit + 1)
                .subquery()
            )
            for half in _halves(states)
        ]
        both = union_all(*halves).subquery()
        ordered = select(both).order_by(*_ordered(both, newest_first=newest_first))
        rows = await self._read(ordered.limit(limit + 1))
        return page(rows, limit, read=codec.read_input, key=("sequence", "input_id"))

    async def input(self, runtime_id: RuntimeId, input_id: InputId) -> StoredInput | None:
        """Read one input with its payload and history; None if there is no such input."""
        query = select(inputs).where(
            inputs.c.runtime_id == runtime_id, inputs.c.input_id == self.codec.uuid(input_id)
        )
        for row in await self._read(query):
            try:
                return StoredInput(codec.read_input(row), row["payload"])
            except READ_ERRORS as error:
                raise DamagedRowError("inputs", str(input_id), codec.fault(error)) from error
        return None

    async def runs(
        self, runtime_id: RuntimeId, *, limit: int = 50, after: str | None = None
    ) -> Page[RunRecord]:
        """List runs of a runtime, the latest first."""
        limit = min(limit, MOST)
        query = select(runs).where(runs.c.runtime_id == runtime_id)
        if after is not None:
            at, run_id = key_of(after, tuple[datetime, UUID])
            key = (self.codec.moment(at), self.codec.uuid(run_id))
            query = query.where(tuple_(runs.c.requested_at, runs.c.run_id) < key)
        order = (runs.c.requested_at.desc(), runs.c.run_id.desc())
        rows = await self._read(query.order_by(*order).limit(limit + 1))
        return page(rows, limit, read=codec.read_run, key=("requested_at", "run_id"))

    async def receipts(
        self,
        runtime_id: RuntimeId,
        *,
        run_id: RunId | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[ReceiptRecord]:
        """List receipts of a runtime, or of one of its runs, by run and sequence."""
        limit = min(limit, MOST)
        query = select(receipts).where(receipts.c.runtime_id == runtime_id)
        if run_id is not None:
            query = query.where(receipts.c.run_id == self.codec.uuid(run_id))
        order = (receipts.c.run_id, receipts.c.sequence)
        if after is not None:
            sequence, of_run = key_of(after, tuple[int, UUID])
            query = query.where(tuple_(*order) > (self.codec.uuid(of_run), sequence))
        rows = await self._read(query.order_by(*order).limit(limit + 1))
        return page(rows, limit, read=codec.read_receipt, key=("sequence", "run_id"))

    async def counts(self) -> StoreCounts:
        """Count what metrics show."""
        is_open = dead_letters.c.status == "open"
        async with self.database.reading() as connection:
            waiting = select(func.count(), func.min(outbox.c.created_at)).select_from(outbox)
            total, oldest = (await connection.execute(waiting)).one()
            ticking = select(func.count()).select_from(timers)
            return msgspec.convert(
                {
                    "runtimes": await _tally(connection, runtimes.c.state),
                    "active_inputs": await _tally(connection, inputs.c.state, is_active),
                    "dead_letters": await _tally(connection, dead_letters.c.reason, is_open),
                    "outbox": total,
                    "outbox_oldest": oldest,
                    "timers": (await connection.execute(ticking)).scalar_one(),
                },
                StoreCounts,
                strict=False,
            )

    async def _active(
        self, connection: AsyncConnection, runtime_ids: Sequence[str]
    ) -> dict[str, dict[InputState, int]]:
        """Count active inputs by runtime and state; a damaged state is not counted."""
        query = (
            select(inputs.c.runtime_id, inputs.c.state, func.count().label("count"))
            .where(self.database.flavour.among(inputs.c.runtime_id, runtime_ids), is_active)
            .group_by(inputs.c.runtime_id, inputs.c.state)
        )
        found: dict[str, dict[InputState, int]] = {}
        for row in named(await connection.execute(query)):
            if row["state"] in ACTIVE:
                found.setdefault(row["runtime_id"], {})[InputState(row["state"])] = row["count"]
        return found

    async def _read(self, query: Select[Any]) -> list[dict[str, Any]]:
        async with self.database.reading() as connection:
            return named(await connection.execute(query))


def _summary(row: dict[str, Any], active: dict[InputState, int]) -> RuntimeSummary:
    waiting = sum(count for state, count in active.items() if state in WAITING)
    in_run = sum(active.values()) - waiting
    return msgspec.convert(
        {**row, "waiting": waiting, "in_run": in_run}, RuntimeSummary, strict=False
    )


def runtimes_meant(wanted: RuntimeFilter) -> list[ColumnElement[bool]]:
    """Say a filter in SQL, on the table of runtimes."""
    where: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        where.append(runtimes.c.state == wanted.state.value)
    if wanted.owner is not None:
        where.append(runtimes.c.owner == wanted.owner)
    if wanted.prefix is not None:
        where.append(runtimes.c.runtime_id.startswith(wanted.prefix, autoescape=True))
    return where


def _halves(states: frozenset[InputState] | None) -> list[list[ColumnElement[bool]]]:
    """Part a list of inputs into active and ended ones: each half has an index of its own."""
    wanted = frozenset(InputState) if states is None else states
    halves = ((is_active, wanted & ACTIVE), (not_(is_active), wanted - ACTIVE))
    if states is None:
        return [[half] for half, _ in halves]
    return [
        [half, inputs.c.state.in_(sorted(state.value for state in some))]
        for half, some in halves
        if some or not states
    ]


def _ordered(rows: FromClause, *, newest_first: bool) -> list[UnaryExpression[Any]]:
    columns = (rows.c.sequence, rows.c.input_id)
    return [column.desc() if newest_first else column.asc() for column in columns]


async def _of(
    connection: AsyncConnection, query: Select[Any], column: ColumnElement[Any], runtime_id: str
) -> list[dict[str, Any]]:
    return named(await connection.execute(query.where(column == runtime_id)))


async def _tally(
    connection: AsyncConnection,
    column: ColumnElement[Any],
    *where: Any,  # noqa: ANN401
) -> dict[str, int]:
    query = select(column, func.count()).where(*where).group_by(column)
    rows = await connection.execute(query)
    return {str(value): int(count) for value, count in rows}
