"""Migrations: bring a database's schema to this version's, and tell whether it is there.

Everything is found next to this file, so that an installed package needs no configuration.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from store.engine import Database, database
from store.errors import SchemaError
from store.flavours import MIGRATE

_HERE: Final = Path(__file__).parent


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
    wanted = ScriptDirectory(str(_HERE)).get_current_head()
    if found == wanted:
        return
    if found is None:
        raise SchemaError(f"the database has no schema yet: {MIGRATE}")
    known = {script.revision for script in ScriptDirectory(str(_HERE)).walk_revisions()}
    if found in known:
        raise SchemaError(
            f"the database's schema is {found}, this version needs {wanted}: {MIGRATE}"
        )
    raise SchemaError(f"the database's schema, {found}, is newer than this version: upgrade it")


def current(connection: Connection) -> str | None:
    """Tell the revision that a database is at; None if it has no schema."""
    return MigrationContext.configure(connection).get_current_revision()


async def _check(address: str) -> None:
    opened = database(address)
    try:
        await check_schema(opened)
    finally:
        await opened.close()


def _upgrade(connection: Connection, opened: Database) -> None:
    opened.flavour.lock_schema(connection)
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
