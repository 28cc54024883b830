"""Activation: taking a runtime and reading its active state, at a cost in active inputs only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from store.script import Ask, AskEach, Rows, Script
from store.tables import inputs, is_active, receipts, runs, runtimes

log = structlog.get_logger()

CHUNK: Final = 2000
"""Active inputs read at once: raw rows and decoded ones stand side by side only this far."""

FEW: Final = 40
"""Active inputs of each runtime that are read at first, of many runtimes together."""

TOGETHER: Final = 50
"""Runtimes that one transaction takes."""

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
        self._take = database.text(_take(flavour), _NEW)
        self._find = database.text(_all_of(runtimes), ("of_runtime",))
        # SQLAlchemy's own limit brings parameters of its own.
        first = database.text(_active(), ("of_runtime",))
        self._first = f"{first} LIMIT {FEW}"
        after = database.text(_active_after(), ("of_runtime", "sequence", "input_id"))
        self._next = f"{after} LIMIT {CHUNK}"
        self._run = database.text(_run(), ("of_runtime", "of_run"))
        self._receipts = database.text(_receipts(flavour))

    async def take(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """Raise a runtime's epoch, or create it with epoch 1, and read its active state.

        Thousands that come to life together would otherwise stand in front of the commits, each
        waiting for the disk, until their wait looks like a database that is away.
        """
        return await self._takings.submit(_Taking(runtime_id, owner, now))

    async def _take_all(self, takings: Sequence[_Taking]) -> list[StoredRuntime | StoreError]:
        """Take runtimes in one transaction; if one of them cannot be, each in its own."""
        try:
            return [*await self._database.write(self._taking(takings))]
        except (DamagedRowError, RefusedError) as error:
            if len(takings) == 1:
                return [error]
            return [taken for one in takings for taken in await self._take_all([one])]

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """Read what ``take`` reads, taking nothing."""
        return await self._database.read(self._finding(runtime_id))

    def new(self, runtime_id: RuntimeId, now: datetime, epoch: int = 0) -> dict[str, object]:
        """Make the row of a new runtime, without an owner."""
        at = self._codec.moment(now)
        row = (runtime_id, RuntimeState.IDLE.value, epoch, None, 0, False, "[]", False, at, at)
        return dict(zip(_NEW, row, strict=True))

    def _taking(self, takings: Sequence[_Taking]) -> Script[list[StoredRuntime]]:
        """Take runtimes in the order of their ids, as commits lock them: none waits for another."""
        order = sorted(range(len(takings)), key=lambda place: takings[place].runtime_id)
        rows = yield AskEach(self._take, [self._row(takings[place]) for place in order])
        states = yield from self._states(rows)
        taken = dict(zip(order, states, strict=True))
        return [taken[place] for place in range(len(takings))]

    def _row(self, taking: _Taking) -> tuple[object, ...]:
        row = {**self.new(taking.runtime_id, taking.now, epoch=1), "owner": taking.owner}
        return tuple(row[name] for name in _NEW)

    def _finding(self, runtime_id: RuntimeId) -> Script[StoredRuntime | None]:
        states = yield from self._states((yield Ask(self._find, (runtime_id,))))
        return states[0] if states else None

    def _states(self, rows: Rows) -> Script[list[StoredRuntime]]:
        """Read the active state of runtimes; what most of them need is asked for together."""
        found = [_runtime(_values(runtimes, row)) for row in rows]
        ids = list(dict.fromkeys(runtime.runtime_id for runtime in found))
        active = {one: _Active() for one in ids}
        for row in (yield AskEach(self._first, [(one,) for one in ids])):
            values = _values(inputs, row)
            active[values["runtime_id"]].add(values)
        for one in ids:
            yield from self._rest(active[one])
        current = yield from self._current_runs(found)
        states = []
        for runtime in found:
            of_runtime = active[runtime.runtime_id]
            states.append(
                StoredRuntime(
                    runtime=runtime,
                    inputs=tuple(of_runtime.read),
                    run=current.get(runtime.runtime_id),
                    receipts=(yield from self._receipts_of(runtime.runtime_id, of_runtime.read)),
                    corrupt=tuple(of_runtime.corrupt),
                )
            )
        return states

    def _rest(self, active: _Active) -> Script[None]:
        """Read the active inputs behind the first few, a chunk at a time."""
        full = FEW
        while active.count == full:
            last = active.last
            key = (last["runtime_id"], last["sequence"], last["input_id"])
            for row in (yield Ask(self._next, key)):
                active.add(_values(inputs, row))
            full += CHUNK

    def _current_runs(self, found: Sequence[RuntimeRecord]) -> Script[dict[RuntimeId, RunRecord]]:
        """Read runs in flight; one that cannot be read counts as lost: its inputs go back."""
        wanted = [
            (runtime.runtime_id, self._codec.uuid(runtime.current_run_id))
            for runtime in found
            if runtime.current_run_id is not None
        ]
        current = {}
        for row in (yield AskEach(self._run, wanted)) if wanted else ():
            values = _values(runs, row)
            try:
                current[values["runtime_id"]] = codec.read_run(values)
            except READ_ERRORS as error:
                log.warning(
                    "store: run cannot be decoded",
                    runtime_id=values["runtime_id"],
                    run_id=str(values["run_id"]),
                    why=codec.fault(error),
                )
        return current

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


@dataclass(slots=True)
class _Active:
    """The active inputs of a runtime, as far as they have been read."""

    read: list[InputRecord] = field(default_factory=list)
    corrupt: list[CorruptRecord] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.read) + len(self.corrupt)

    def add(self, values: dict[str, Any]) -> None:
        """Take the next one in admission order."""
        self.last = values
        try:
            self.read.append(codec.read_input(values))
        except READ_ERRORS as error:
            self.corrupt.append(_corrupt(values, error))


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
