"""Contender b: aio-pika consumes, SQLAlchemy Core writes a row a message, commits, and acks.

The best program of this kind that one would naturally write: while a commit runs the next batch
collects; a batch is one executemany, one commit and then one cumulative ack. SQLite in WAL mode
with ``synchronous=FULL``, as the worker has it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.assignment import Assignment, Moment, received, report

PREFETCH: Final = 1_000

metadata: Final = MetaData()
inbox: Final = Table(
    "inbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("runtime_id", Text, nullable=False),
    Column("received", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)


class Writer:
    """Writes what was delivered since the last commit, and acks it."""

    def __init__(self, engine: AsyncEngine, messages: int) -> None:
        self._engine = engine
        self._left = messages
        self._waiting: list[AbstractIncomingMessage] = []
        self._arrived = asyncio.Event()
        self._began: Moment | None = None

    async def take(self, message: AbstractIncomingMessage) -> None:
        if self._began is None:
            self._began = Moment.now()
        self._waiting.append(message)
        self._arrived.set()

    async def write_all(self) -> Moment:
        while self._left:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            await self._write(batch)
            await batch[-1].ack(multiple=True)
            self._left -= len(batch)
        assert self._began is not None
        return self._began.passed()

    async def _write(self, batch: list[AbstractIncomingMessage]) -> None:
        rows = [
            {
                "message_id": message.message_id,
                "runtime_id": message.routing_key,
                "received": message.delivery_tag,
                "body": message.body,
            }
            for message in batch
        ]
        async with self._engine.begin() as connection:
            await connection.execute(inbox.insert(), rows)


def engine_of(assignment: Assignment) -> AsyncEngine:
    """Open the database, as durable as the worker's."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{assignment.database}")

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA wal_autocheckpoint=8000")
        cursor.close()

    event.listen(engine.sync_engine, "connect", connected)
    return engine


async def consume(assignment: Assignment, engine: AsyncEngine) -> Moment:
    """Consume and write every message; answers the span, first delivery to last ack."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    async with await aio_pika.connect(assignment.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(assignment.queue, ensure=False)
        writer = Writer(engine, assignment.messages)
        await queue.consume(writer.take)
        span = await writer.write_all()
    async with engine.connect() as connection:
        written = await connection.scalar(select(func.count()).select_from(inbox))
    await engine.dispose()
    assert written == assignment.messages, f"{written} rows of {assignment.messages}"
    return span


if __name__ == "__main__":
    told = received()
    report(told.messages, uvloop.run(consume(told, engine_of(told))))
