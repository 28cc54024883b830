"""Services of a benchmark: a private broker and a private database server, both durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from worker.sandbox import PostgreSQL, start_postgresql, start_rabbitmq


@dataclass(frozen=True, slots=True)
class Services:
    """What a benchmark runs on.

    Attributes:
        amqp_url: The broker.
        server: The database server; it dates commits.
    """

    amqp_url: str
    server: PostgreSQL


@contextmanager
def services() -> Iterator[Services]:
    """Start both, and end them afterwards."""
    with start_rabbitmq(private=True) as broker, dated_postgresql() as server:
        yield Services(broker.url, server)


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
