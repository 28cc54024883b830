"""Runtimes: which there are, new ones, and what of them is read on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select

from schemas.ids import InputId, RuntimeId
from schemas.lifecycle import RuntimeState
from schemas.records import (
    SnapshotRecord,
)
from store import codec
from store.activation import Activation
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.errors import DamagedRowError
from store.tables import inputs, runtimes, snapshots

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runtimes:
    """The runtimes of a database."""

    database: Database
    codec: Codec
    activation: Activation

    async def register(self, runtime_ids: Sequence[RuntimeId], *, now: datetime) -> list[RuntimeId]:
        """Record runtimes that are new; see ``RuntimeStore``."""
        if not runtime_ids:
            return []
        new = [self.activation.new(runtime_id, now) for runtime_id in dict.fromkeys(runtime_ids)]
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
