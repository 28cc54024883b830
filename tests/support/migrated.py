"""Databases that have the schema, by copying one: to migrate takes longer than many a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from store import migrations
from worker.sandbox import create_database, drop_database


def migrated_file(path: Path) -> str:
    """Make a SQLite file with the schema; answers its URL. Not within an event loop."""
    path.write_bytes(_file())
    return _url(path)


@contextmanager
def migrated_database(server: str) -> Iterator[str]:
    """Make a PostgreSQL database with the schema, to be copied; nobody may stay connected to it.

    In a thread, since the loop of a test may be running in ours.
    """
    with ThreadPoolExecutor(1) as thread:
        url = thread.submit(lambda: asyncio.run(create_database(server))).result()
        thread.submit(migrations.upgrade, url).result()
        yield url
        thread.submit(lambda: asyncio.run(drop_database(server, url))).result()


@cache
def _file() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        migrations.upgrade(_url(path))
        return path.read_bytes()


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
