"""Migrations: bring a database's schema to this version's, and tell whether it is there.

Everything is found next to this file, so that an installed package needs no configuration.
Every start checks the schema, and Alembic is slow to import: only what migrates imports it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, inspect, select, table

from store.engine import Database, database
from store.errors import SchemaError
from store.flavours import MIGRATE

_HERE: Final = Path(__file__).parent
_VERSION: Final = table("alembic_version", column("version_num"))


def upgrade(address: str) -> None:
    """Bring a database to this version's schema; safe to repeat, and from many processes at once.

    Raises:
        StoreError: The address is wrong, or the database cannot be reached.
    """
    asyncio.run(migrate(address))


def check(address: str) -> None:
    """Check that a database's schema is this version's.

    Raises:
        SchemaError: It is missing, older or newer; the message says what to do.
        StoreError: The address is wrong, or the database cannot be reached.
    """
    asyncio.run(_check(address))


async def migrate(address: str) -> None:
    """Do what ``upgrade`` does, from within an event loop."""
    opened = database(address)
    try:
        async with opened.writing() as connection:
            await connection.run_sync(lambda inner: _upgrade(inner, opened))
    finally:
        await opened.close()


async def check_schema(opened: Database) -> None:
    """Do what ``check`` does, on a database that is open."""
    async with opened.reading() as connection:
        found = await connection.run_sync(current)
    known = revisions()
    wanted = known[-1]
    if found == wanted:
        return
    if found is None:
        raise SchemaError(f"the database has no schema yet: {MIGRATE}")
    if found in known:
        raise SchemaError(
            f"the database's schema is {found}, this version needs {wanted}: {MIGRATE}"
        )
    raise SchemaError(f"the database's schema, {found}, is newer than this version: upgrade it")


def current(connection: Connection) -> str | None:
    """Tell the revision that a database is at; None if it has no schema."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


def revisions() -> list[str]:
    """Name this version's revisions, the oldest first: their files' names begin with them."""
    names = (path.name for path in (_HERE / "versions").glob("[0-9]*.py"))
    return sorted(name.partition("_")[0] for name in names)


async def _check(address: str) -> None:
    opened = database(address)
    try:
        await check_schema(opened)
    finally:
        await opened.close()


def _upgrade(connection: Connection, opened: Database) -> None:
    from alembic import command  # noqa: PLC0415 - slow, and only for who migrates
    from alembic.config import Config  # noqa: PLC0415 - the same

    opened.flavour.lock_schema(connection)
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
