"""Runtimes: taking one, reading its active state, registering new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.ids import InputId, RunId, RuntimeId
from schemas.lifecycle import InputState, RuntimeState
from schemas.records import (
    CorruptRecord,
    InputRecord,
    RunRecord,
    RuntimeRecord,
    SnapshotRecord,
    StoredRuntime,
)
from store import codec
from store.codec import READ_ERRORS, Codec, Values
from store.engine import Database, named
from store.errors import DamagedRowError
from store.tables import inputs, is_active, receipts, runs, runtimes, snapshots

log = structlog.get_logger()

CHUNK: Final = 2000
"""Active inputs read at once: raw rows and decoded ones stand side by side only this far."""

_WITHOUT_PAYLOAD: Final = [column for column in inputs.c if column.name != "payload"]
_APPLIED: Final = frozenset({InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION})


@dataclass(frozen=True, slots=True)
class Runtimes:
    """The runtimes of a database."""

    database: Database
    codec: Codec

    async def activate(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """Take a runtime; see ``RuntimeStore``."""
        created = {**self._new(runtime_id, now), "epoch": 1, "owner": owner}
        insert = self.database.flavour.insert(runtimes).values(created)
        upsert = insert.on_conflict_do_update(
            index_elements=["runtime_id"],
            set_={
                "epoch": runtimes.c.epoch + 1,
                "owner": insert.excluded.owner,
                "updated_at": insert.excluded.updated_at,
            },
        ).returning(*runtimes.c)
        async with self.database.writing() as connection:
            (taken,) = named(await connection.execute(upsert))
            return await self._active_state(connection, _runtime(taken))

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """Read what ``activate`` reads; see ``RuntimeStore``."""
        query = select(runtimes).where(runtimes.c.runtime_id == runtime_id)
        async with self.database.reading() as connection:
            for found in named(await connection.execute(query)):
                return await self._active_state(connection, _runtime(found))
        return None

    async def register(self, runtime_ids: Sequence[RuntimeId], *, now: datetime) -> list[RuntimeId]:
        """Record runtimes that are new; see ``RuntimeStore``."""
        if not runtime_ids:
            return []
        new = [self._new(runtime_id, now) for runtime_id in dict.fromkeys(runtime_ids)]
        flavour = self.database.flavour
        seen = select(runtimes.c.runtime_id).where(
            flavour.among(runtimes.c.runtime_id, [row["runtime_id"] for row in new])
        )
        async with self.database.writing() as connection:
            known = set((await connection.execute(seen)).scalars())
            fresh = [row for row in new if row["runtime_id"] not in known]
            if fresh:
                insert = flavour.insert(runtimes)
                await connection.execute(
                    insert.on_conflict_do_nothing(index_elements=["runtime_id"]), fresh
                )
        return [RuntimeId(str(row["runtime_id"])) for row in fresh]

    async def runtime_ids(self) -> list[RuntimeId]:
        """Name every runtime that is not destroyed."""
        query = (
            select(runtimes.c.runtime_id)
            .where(runtimes.c.state != RuntimeState.DESTROYED.value)
            .order_by(runtimes.c.runtime_id)
        )
        async with self.database.reading() as connection:
            return [RuntimeId(found) for found in (await connection.execute(query)).scalars()]

    async def payloads(
        self, runtime_id: RuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """Read payloads of inputs; absent ones are left out."""
        if not input_ids:
            return {}
        wanted = [self.codec.uuid(input_id) for input_id in input_ids]
        query = select(inputs.c.input_id, inputs.c.payload).where(
            inputs.c.runtime_id == runtime_id,
            self.database.flavour.among(inputs.c.input_id, wanted),
            inputs.c.payload.is_not(None),
        )
        async with self.database.reading() as connection:
            found = await connection.execute(query)
            return {codec.read_id(input_id): payload for input_id, payload in found}

    async def snapshot(self, runtime_id: RuntimeId) -> SnapshotRecord | None:
        """Read the latest session snapshot of a runtime."""
        query = select(snapshots).where(snapshots.c.runtime_id == runtime_id)
        async with self.database.reading() as connection:
            found = named(await connection.execute(query))
        try:
            return codec.read_snapshot(found[0]) if found else None
        except READ_ERRORS as error:
            raise DamagedRowError("snapshots", runtime_id, codec.fault(error)) from error

    def _new(self, runtime_id: RuntimeId, now: datetime) -> dict[str, object]:
        at = self.codec.moment(now)
        return {
            "runtime_id": runtime_id,
            "state": RuntimeState.IDLE.value,
            "epoch": 0,
            "owner": None,
            "next_sequence": 0,
            "woken": False,
            "silent_intents": "[]",
            "paused": False,
            "created_at": at,
            "updated_at": at,
        }

    async def _active_state(
        self, connection: AsyncConnection, runtime: RuntimeRecord
    ) -> StoredRuntime:
        found: list[InputRecord] = []
        corrupt: list[CorruptRecord] = []
        async for values in _active_rows(connection, runtime.runtime_id):
            try:
                found.append(codec.read_input(values))
            except READ_ERRORS as error:
                corrupt.append(_corrupt(values, error))
        return StoredRuntime(
            runtime=runtime,
            inputs=tuple(found),
            run=await self._current_run(connection, runtime),
            receipts=await self._receipts(connection, runtime.runtime_id, found),
            corrupt=tuple(corrupt),
        )

    async def _current_run(
        self, connection: AsyncConnection, runtime: RuntimeRecord
    ) -> RunRecord | None:
        """Read the run in flight; one that cannot be read counts as lost: its inputs go back."""
        if runtime.current_run_id is None:
            return None
        query = select(runs).where(
            runs.c.runtime_id == runtime.runtime_id,
            runs.c.run_id == self.codec.uuid(runtime.current_run_id),
        )
        found = named(await connection.execute(query))
        try:
            return codec.read_run(found[0]) if found else None
        except READ_ERRORS as error:
            log.warning(
                "store: run cannot be decoded",
                runtime_id=runtime.runtime_id,
                run_id=str(runtime.current_run_id),
                why=codec.fault(error),
            )
            return None

    async def _receipts(
        self, connection: AsyncConnection, runtime_id: RuntimeId, active: Sequence[InputRecord]
    ) -> frozenset[tuple[RunId, int]]:
        """Tell which receipts of applied inputs are stored."""
        wanted = {
            (self.codec.uuid(record.last_run_id), record.last_boundary_sequence)
            for record in active
            if record.state in _APPLIED
            and record.last_run_id is not None
            and record.last_boundary_sequence is not None
        }
        if not wanted:
            return frozenset()
        columns = (receipts.c.run_id, receipts.c.sequence)
        asked = self.database.flavour.pairs(columns, sorted(wanted, key=str))
        query = select(*columns).where(
            receipts.c.runtime_id == runtime_id, tuple_(*columns).in_(asked)
        )
        found = await connection.execute(query)
        return frozenset((codec.read_id(run_id), sequence) for run_id, sequence in found)


async def _active_rows(
    connection: AsyncConnection, runtime_id: RuntimeId
) -> AsyncIterator[dict[str, object]]:
    """Read active inputs in admission order, through the index that holds no others."""
    order = (inputs.c.sequence, inputs.c.input_id)
    query = (
        select(*_WITHOUT_PAYLOAD)
        .where(inputs.c.runtime_id == runtime_id, is_active)
        .order_by(*order)
        .limit(CHUNK)
    )
    after = query
    while True:
        rows = named(await connection.execute(after))
        for row in rows:
            yield row
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        after = query.where(tuple_(*order) > (last["sequence"], last["input_id"]))


def _runtime(values: Values) -> RuntimeRecord:
    try:
        return codec.read_runtime(values)
    except READ_ERRORS as error:
        key = str(values["runtime_id"])
        raise DamagedRowError("runtimes", key, codec.fault(error)) from error


def _corrupt(values: Values, error: Exception) -> CorruptRecord:
    return CorruptRecord(str(values["input_id"]), codec.fault(error), codec.raw_row(values))
