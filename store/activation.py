"""Activation: taking a runtime and reading its active state, at a cost in active inputs only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import (
    ClauseElement,
    Select,
    Table,
    bindparam,
    literal_column,
    select,
    tuple_,
)

from schemas.ids import RunId, RuntimeId
from schemas.lifecycle import InputState, RuntimeState
from schemas.records import CorruptRecord, InputRecord, RunRecord, RuntimeRecord, StoredRuntime
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database
from store.errors import DamagedRowError, RefusedError, StoreError
from store.flavours import Flavour
from store.gather import Gather
from store.script import Ask, Script
from store.tables import inputs, is_active, receipts, runs, runtimes

log = structlog.get_logger()

CHUNK: Final = 2000
"""Active inputs read at once: raw rows and decoded ones stand side by side only this far."""

TOGETHER: Final = 50
"""Runtimes that one transaction takes where one connection writes."""

AT_ONCE: Final = 4
"""Runtimes being taken side by side where many may write; commits have connections left."""

_CHUNK: Final = f" LIMIT {CHUNK}"  # SQLAlchemy's limit brings parameters of its own
_APPLIED: Final = frozenset({InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION})
_NEW: Final = (
    "runtime_id",
    "state",
    "epoch",
    "owner",
    "next_sequence",
    "woken",
    "silent_intents",
    "paused",
    "created_at",
    "updated_at",
)


@dataclass(frozen=True, slots=True)
class _Taking:
    runtime_id: RuntimeId
    owner: str
    now: datetime


class Activation:
    """Takes and reads runtimes; its statements are compiled once."""

    def __init__(self, database: Database, codec: Codec) -> None:
        flavour = database.flavour
        self._database = database
        self._codec = codec
        self._takings = Gather(self._take_all, bound=TOGETHER)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._take = database.text(_take(flavour), _NEW)
        self._find = database.text(_all_of(runtimes), ("of_runtime",))
        self._first = database.text(_active(), ("of_runtime",)) + _CHUNK
        self._next = database.text(_active_after(), ("of_runtime", "sequence", "input_id")) + _CHUNK
        self._run = database.text(_run(), ("of_runtime", "of_run"))
        self._receipts = database.text(_receipts(flavour))

    async def take(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """Raise a runtime's epoch, or create it with epoch 1, and read its active state.

        Thousands that come to life together would otherwise stand in front of the commits, each
        waiting for the disk, until their wait looks like a database that is away.
        """
        taking = _Taking(runtime_id, owner, now)
        if not self._database.flavour.one_writer:
            async with self._turns:
                return await self._database.write(self._taking(taking))
        taken = await self._takings.submit(taking)
        if isinstance(taken, StoreError):
            raise taken
        return taken

    async def _take_all(self, takings: Sequence[_Taking]) -> list[StoredRuntime | StoreError]:
        """Take runtimes in one transaction; if one of them cannot be, each in its own."""
        try:
            return await self._database.write(self._taking_all(takings))
        except (DamagedRowError, RefusedError):
            return [await self._take_alone(taking) for taking in takings]

    async def _take_alone(self, taking: _Taking) -> StoredRuntime | StoreError:
        try:
            return await self._database.write(self._taking(taking))
        except StoreError as error:
            return error

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """Read what ``take`` reads, taking nothing."""
        return await self._database.read(self._finding(runtime_id))

    def new(self, runtime_id: RuntimeId, now: datetime, epoch: int = 0) -> dict[str, object]:
        """Make the row of a new runtime, without an owner."""
        at = self._codec.moment(now)
        row = (runtime_id, RuntimeState.IDLE.value, epoch, None, 0, False, "[]", False, at, at)
        return dict(zip(_NEW, row, strict=True))

    def _taking_all(self, takings: Sequence[_Taking]) -> Script[list[StoredRuntime | StoreError]]:
        taken: list[StoredRuntime | StoreError] = []
        for taking in takings:
            taken.append((yield from self._taking(taking)))  # noqa: PERF401 - a yield, not a value
        return taken

    def _taking(self, taking: _Taking) -> Script[StoredRuntime]:
        row = {**self.new(taking.runtime_id, taking.now, epoch=1), "owner": taking.owner}
        (taken,) = yield Ask(self._take, tuple(row[name] for name in _NEW))
        return (yield from self._state(taken))

    def _finding(self, runtime_id: RuntimeId) -> Script[StoredRuntime | None]:
        found = yield Ask(self._find, (runtime_id,))
        return (yield from self._state(found[0])) if found else None

    def _state(self, row: tuple[Any, ...]) -> Script[StoredRuntime]:
        runtime = _runtime(_values(runtimes, row))
        active: list[InputRecord] = []
        corrupt: list[CorruptRecord] = []
        yield from self._inputs(runtime.runtime_id, active, corrupt)
        return StoredRuntime(
            runtime=runtime,
            inputs=tuple(active),
            run=(yield from self._current_run(runtime)),
            receipts=(yield from self._receipts_of(runtime.runtime_id, active)),
            corrupt=tuple(corrupt),
        )

    def _inputs(
        self, runtime_id: RuntimeId, active: list[InputRecord], corrupt: list[CorruptRecord]
    ) -> Script[None]:
        """Read active inputs in admission order, a chunk at a time."""
        rows = yield Ask(self._first, (runtime_id,))
        while True:
            for row in rows:
                values = _values(inputs, row)
                try:
                    active.append(codec.read_input(values))
                except READ_ERRORS as error:
                    corrupt.append(_corrupt(values, error))
            if len(rows) < CHUNK:
                return
            last = _values(inputs, rows[-1])
            rows = yield Ask(self._next, (runtime_id, last["sequence"], last["input_id"]))

    def _current_run(self, runtime: RuntimeRecord) -> Script[RunRecord | None]:
        """Read the run in flight; one that cannot be read counts as lost: its inputs go back."""
        run_id = runtime.current_run_id
        if run_id is None:
            return None
        found = yield Ask(self._run, (runtime.runtime_id, self._codec.uuid(run_id)))
        try:
            return codec.read_run(_values(runs, found[0])) if found else None
        except READ_ERRORS as error:
            log.warning(
                "store: run cannot be decoded",
                runtime_id=runtime.runtime_id,
                run_id=str(run_id),
                why=codec.fault(error),
            )
            return None

    def _receipts_of(
        self, runtime_id: RuntimeId, active: Sequence[InputRecord]
    ) -> Script[frozenset[tuple[RunId, int]]]:
        """Tell which receipts of applied inputs are stored."""
        wanted = {
            (self._codec.uuid(record.last_run_id), record.last_boundary_sequence)
            for record in active
            if record.state in _APPLIED
            and record.last_run_id is not None
            and record.last_boundary_sequence is not None
        }
        if not wanted:
            return frozenset()
        arguments = self._database.flavour.pairs_arguments(sorted(wanted, key=str))
        found = yield Ask(self._receipts, (runtime_id, *arguments))
        return frozenset((codec.read_id(run_id), sequence) for run_id, sequence in found)


# --- statements ----------------------------------------------------------------------------------


def _take(flavour: Flavour) -> ClauseElement:
    insert = flavour.insert(runtimes)
    raised = {
        "epoch": runtimes.c.epoch + literal_column("1"),
        "owner": insert.excluded.owner,
        "updated_at": insert.excluded.updated_at,
    }
    upsert = insert.on_conflict_do_update(index_elements=["runtime_id"], set_=raised)
    return upsert.returning(*runtimes.c)


def _all_of(table: Table) -> Select[Any]:
    column = table.c.runtime_id
    return select(table).where(column == bindparam("of_runtime", type_=column.type))


def _active() -> Select[Any]:
    """Read through the index that holds no ended inputs."""
    columns = [column for column in inputs.c if column.name in _INPUT]
    order = (inputs.c.sequence, inputs.c.input_id)
    of_runtime = bindparam("of_runtime", type_=inputs.c.runtime_id.type)
    query = select(*columns).where(inputs.c.runtime_id == of_runtime, is_active)
    return query.order_by(*order)


def _active_after() -> Select[Any]:
    order = (inputs.c.sequence, inputs.c.input_id)
    last = tuple_(*(bindparam(str(column.name), type_=column.type) for column in order))
    return _active().where(tuple_(*order) > last)


def _run() -> Select[Any]:
    return _all_of(runs).where(runs.c.run_id == bindparam("of_run", type_=runs.c.run_id.type))


def _receipts(flavour: Flavour) -> Select[Any]:
    columns = (receipts.c.run_id, receipts.c.sequence)
    of_runtime = bindparam("of_runtime", type_=receipts.c.runtime_id.type)
    return select(*columns).where(
        receipts.c.runtime_id == of_runtime, tuple_(*columns).in_(flavour.pairs(columns, ()))
    )


# --- rows ----------------------------------------------------------------------------------------

_INPUT: Final = tuple(str(column.name) for column in inputs.c if column.name != "payload")
_NAMES: Final = {
    runtimes: tuple(str(column.name) for column in runtimes.c),
    inputs: _INPUT,
    runs: tuple(str(column.name) for column in runs.c),
}


def _values(table: Table, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(_NAMES[table], row, strict=True))


def _runtime(values: dict[str, Any]) -> RuntimeRecord:
    try:
        return codec.read_runtime(values)
    except READ_ERRORS as error:
        key = str(values["runtime_id"])
        raise DamagedRowError("runtimes", key, codec.fault(error)) from error


def _corrupt(values: dict[str, Any], error: Exception) -> CorruptRecord:
    return CorruptRecord(str(values["input_id"]), codec.fault(error), codec.raw_row(values))
