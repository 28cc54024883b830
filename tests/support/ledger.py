"""What is in the database, read as rows, for tests that judge a worker by what it committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, func, select

from store import tables
from store.sql import SqlStore

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Looks at a store from outside."""

    store: SqlStore

    async def inputs(self, runtime_id: str) -> list[Row]:
        """A runtime's inputs in admission order."""
        table = tables.inputs
        query = select(table).where(table.c.runtime_id == runtime_id).order_by(table.c.sequence)
        return await self.rows(query)

    async def states(self, runtime_id: str) -> list[str]:
        """The states of a runtime's inputs, in admission order."""
        return [row["state"] for row in await self.inputs(runtime_id)]

    async def ids(self, runtime_id: str) -> list[UUID]:
        """The ids of a runtime's inputs, in admission order."""
        return [UUID(str(row["input_id"])) for row in await self.inputs(runtime_id)]

    async def letters(self) -> list[Row]:
        """All dead letters, oldest first."""
        return await self.rows(select(tables.dead_letters).order_by(tables.dead_letters.c.first_at))

    async def receipts(self, runtime_id: str) -> list[tuple[UUID, int, list[UUID]]]:
        """A runtime's receipts: run, sequence, contributing inputs."""
        table = tables.receipts
        found = await self.rows(select(table).where(table.c.runtime_id == runtime_id))
        return [
            (
                UUID(str(row["run_id"])),
                row["sequence"],
                msgspec.json.decode(row["contributing_input_ids"], type=list[UUID]),
            )
            for row in found
        ]

    async def epoch(self, runtime_id: str) -> int:
        """How often a runtime was activated; 0 if it is not there."""
        table = tables.runtimes
        found = await self.rows(select(table).where(table.c.runtime_id == runtime_id))
        return int(found[0]["epoch"]) if found else 0

    async def count(self, name: str) -> int:
        """How many rows a table has."""
        table = tables.metadata.tables[name]
        async with self.store.database.reading() as connection:
            found = await connection.execute(select(func.count()).select_from(table))
            return int(found.scalar_one())

    async def rows(self, query: Select[Any]) -> list[Row]:
        """The rows of any query."""
        async with self.store.database.reading() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]
