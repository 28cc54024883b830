"""Presence: which workers are alive, by what they last said of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from store import codec
from store.codec import Codec
from store.engine import Database, named
from store.ports import WorkerPresence
from store.tables import workers


@dataclass(frozen=True, slots=True)
class Presences:
    """The workers that share a database."""

    database: Database
    codec: Codec

    async def heartbeat(self, presence: WorkerPresence) -> None:
        """Say that a worker is alive and what it consumes."""
        row = {
            "worker_id": presence.worker_id,
            "host": codec.harmless(presence.host),
            "started_at": self.codec.moment(presence.started_at),
            "heartbeat_at": self.codec.moment(presence.heartbeat_at),
            "queues": codec.json(presence.queues),
        }
        changed = {name: value for name, value in row.items() if name != "worker_id"}
        upsert = (
            self.database.flavour.insert(workers)
            .values(row)
            .on_conflict_do_update(index_elements=["worker_id"], set_=changed)
        )
        async with self.database.writing() as connection:
            await connection.execute(upsert)

    async def workers(self) -> list[WorkerPresence]:
        """List workers as they last said of themselves."""
        query = select(workers).order_by(workers.c.worker_id)
        async with self.database.reading() as connection:
            rows = named(await connection.execute(query))
        return [codec.read_presence(row) for row in rows]

    async def forget(self, worker_id: str) -> None:
        """Take a worker off the list."""
        async with self.database.writing() as connection:
            await connection.execute(workers.delete().where(workers.c.worker_id == worker_id))
