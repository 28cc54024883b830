"""Upkeep: what no runtime asks for by itself and yet must be seen to, found without searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from schemas.ids import RuntimeId
from schemas.lifecycle import RuntimeState
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
        if runtime_ids:
            await self._note(runtime_ids, gone=True)

    async def queue_back(self, runtime_ids: Sequence[RuntimeId]) -> None:
        """Note that inbox queues may be there again, where the runtimes are destroyed."""
        named = self.database.flavour.among(runtimes.c.runtime_id, runtime_ids)
        destroyed = runtimes.c.state == RuntimeState.DESTROYED.value
        query = select(runtimes.c.runtime_id).where(named, destroyed, runtimes.c.queue_gone)
        async with self.database.reading() as connection:
            found = (await connection.execute(query)).scalars().all()
        if found:
            await self._note(found, gone=False)

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

    async def _note(self, runtime_ids: Sequence[str], *, gone: bool) -> None:
        named = self.database.flavour.among(runtimes.c.runtime_id, runtime_ids)
        async with self.database.writing() as connection:
            await connection.execute(update(runtimes).where(named).values(queue_gone=gone))
