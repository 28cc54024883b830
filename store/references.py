"""References: which blobs the stored inputs, snapshots and dead letters need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select, union

from store.engine import Database
from store.tables import blob_references, snapshots


@dataclass(frozen=True, slots=True)
class References:
    """The blob references of a database."""

    database: Database

    async def among(self, blob_ids: Sequence[str]) -> Collection[str]:
        """Tell which of some blobs are needed."""
        among = self.database.flavour.among
        columns = (blob_references.c.blob_id, snapshots.c.blob_id)
        needed = union(*(select(one).where(among(one, blob_ids)) for one in columns))
        async with self.database.reading() as connection:
            return set((await connection.execute(needed)).scalars())
