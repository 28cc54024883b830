"""Checkup: what a database says of itself, and whether a commit is on the disk when it returns."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from store.engine import Database
from store.flavours import Sqlite

_SYNCHRONOUS: Final = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


class Facts(msgspec.Struct, frozen=True):
    """A database's product and version; ``settings`` are those that durability depends on."""

    product: str
    version: str
    settings: dict[str, str]
    durable: bool


async def facts(opened: Database) -> Facts:
    """Ask a database about itself.

    Raises:
        StoreUnavailableError: It cannot be reached, or cannot be written to.
    """
    async with opened.writing() as connection:
        if isinstance(opened.flavour, Sqlite):
            return await _sqlite(connection)
        return await _postgresql(connection)


async def _sqlite(connection: AsyncConnection) -> Facts:
    version = await _answer(connection, "SELECT sqlite_version()")
    journal = await _answer(connection, "PRAGMA journal_mode")
    synchronous = _SYNCHRONOUS[int(await _answer(connection, "PRAGMA synchronous"))]
    return Facts(
        "SQLite",
        version,
        {"journal_mode": journal, "synchronous": synchronous},
        durable=journal == "wal" and synchronous in {"FULL", "EXTRA"},
    )


async def _postgresql(connection: AsyncConnection) -> Facts:
    version = await _answer(connection, "SHOW server_version")
    names = ("fsync", "full_page_writes", "synchronous_commit")
    settings = {name: await _answer(connection, f"SHOW {name}") for name in names}
    durable = "off" not in settings.values()
    return Facts("PostgreSQL", version, settings, durable)


async def _answer(connection: AsyncConnection, question: str) -> str:
    return str((await connection.exec_driver_sql(question)).scalar_one())
