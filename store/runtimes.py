"""Runtimes: which there are, and new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from schemas.ids import RuntimeId
from schemas.lifecycle import RuntimeState
from store.activation import Activation
from store.codec import Codec
from store.engine import Database
from store.tables import runtimes


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
        # In the order of ids, as activations write them: none waits for another.
        new = [self.activation.new(runtime_id, now) for runtime_id in sorted(set(runtime_ids))]
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
