"""The outbox: rows that were committed and not yet confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from schemas.records import OutboxMessage
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.errors import DamagedRowError
from store.tables import outbox


@dataclass(frozen=True, slots=True)
class Outbox:
    """Reads what a commit left to be published; commits write and delete it."""

    database: Database
    codec: Codec

    async def unpublished(self, *, before: datetime, limit: int) -> list[OutboxMessage]:
        """Read rows created before a moment, in the order in which they were committed."""
        query = (
            select(outbox)
            .where(outbox.c.created_at < self.codec.moment(before))
            .order_by(outbox.c.position)
            .limit(limit)
        )
        async with self.database.reading() as connection:
            rows = named(await connection.execute(query))
        return [_read(row) for row in rows]


def _read(values: dict[str, object]) -> OutboxMessage:
    try:
        return codec.read_outgoing(values)
    except READ_ERRORS as error:
        raise DamagedRowError("outbox", str(values["id"]), codec.fault(error)) from error
