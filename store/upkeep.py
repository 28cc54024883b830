"""Upkeep: what no runtime asks for by itself and yet must be seen to, found without searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from schemas.ids import RuntimeId
from store.codec import Codec
from store.engine import Database
from store.tables import is_condemned, is_requested, runs, runtimes


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Reads through partial indexes: the cost is that of the answer, not of the history."""

    database: Database
    codec: Codec

    async def condemned(self) -> list[RuntimeId]:
        """Name the runtimes that are destroyed and whose inbox queue may still be there."""
        query = select(runtimes.c.runtime_id).where(is_condemned).order_by(runtimes.c.runtime_id)
        async with self.database.reading() as connection:
            return [RuntimeId(found) for found in (await connection.execute(query)).scalars()]

    async def queue_gone(self, runtime_ids: Sequence[RuntimeId]) -> None:
        """Note that the inbox queues of destroyed runtimes are gone."""
        if not runtime_ids:
            return
        named = self.database.flavour.among(runtimes.c.runtime_id, runtime_ids)
        async with self.database.writing() as connection:
            await connection.execute(update(runtimes).where(named).values(queue_gone=True))

    async def waiting_requests(self, *, before: datetime, limit: int) -> list[RuntimeId]:
        """Name runtimes whose run was requested before a moment and has not started."""
        query = (
            select(runs.c.runtime_id)
            .where(is_requested, runs.c.requested_at < self.codec.moment(before))
            .order_by(runs.c.requested_at)
            .limit(limit)
        )
        async with self.database.reading() as connection:
            return [RuntimeId(found) for found in (await connection.execute(query)).scalars()]
