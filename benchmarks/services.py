"""Services of a benchmark: a private broker and a private database server, both durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from worker.sandbox import PostgreSQL, start_postgresql


@contextmanager
def dated_postgresql() -> Iterator[PostgreSQL]:
    """A private server with fsync on that dates each commit: nobody has to watch it to know."""
    with start_postgresql(private=True) as server:
        asyncio.run(_date_commits(server.url))
        server.stop()
        server.start()
        server.wait_ready()
        yield server


async def _date_commits(url: str) -> None:
    connection = await asyncpg.connect(url, database="postgres")
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    finally:
        await connection.close()
