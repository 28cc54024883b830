"""Contender: aio-pika consumes, SQLAlchemy Core writes with asyncpg, commits, and acks.

As ``transaction``, on PostgreSQL: while a commit runs the next batch collects.
"""

from __future__ import annotations

import aio_pika
import uvloop
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.assignment import Assignment, Moment, received, report
from benchmarks.contenders.transaction import PREFETCH, Writer, inbox, metadata


async def consume(assignment: Assignment) -> Moment:
    """Consume and write every message; answers the span, first delivery to last ack."""
    engine = create_async_engine(assignment.database)
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
    report(told.messages, uvloop.run(consume(told)))
