"""Contender b: aio-pika consumes, SQLAlchemy Core writes a row a message, commits, and acks.

The best program of this kind that one would naturally write: while a commit runs the next batch
collects; a batch is one executemany, one commit and then one cumulative ack for each queue. SQLite
in WAL mode with ``synchronous=FULL``, as the worker has it.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.assignment import Assignment, Moment, received, report
from benchmarks.contenders.timing import Timing

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

    def __init__(self, engine: AsyncEngine, timing: Timing) -> None:
        self._engine = engine
        self._timing = timing
        self._waiting: list[AbstractIncomingMessage] = []
        self._arrived = asyncio.Event()

    async def take(self, message: AbstractIncomingMessage) -> None:
        self._timing.begin()
        self._timing.received(monotonic())
        self._waiting.append(message)
        self._arrived.set()

    async def write_always(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            await self._write(batch)
            for last in {message.channel: message for message in batch}.values():
                await last.ack(multiple=True)
            self._timing.acked(message.message_id for message in batch)

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


async def consume(assignment: Assignment, engine: AsyncEngine) -> tuple[Moment, list[float]]:
    """Consume and write every message; answers the span and the latencies."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    timing = Timing.of(assignment)
    writer = Writer(engine, timing)
    async with await aio_pika.connect(assignment.url) as connection:
        for runtime_id in assignment.runtimes:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            name = assignment.topology.queue_of(runtime_id)
            await (await channel.get_queue(name, ensure=False)).consume(writer.take)
        writing = asyncio.create_task(writer.write_always())
        span = await timing.work(assignment)
        writing.cancel()
    async with engine.connect() as connection:
        written = await connection.scalar(select(func.count()).select_from(inbox))
    await engine.dispose()
    assert written == assignment.total, f"{written} rows of {assignment.total}"
    return span, timing.latencies_ms


if __name__ == "__main__":
    told = received()
    report(told.messages, *uvloop.run(consume(told, engine_of(told))))
