"""Opening a store by its address."""

from __future__ import annotations

import asyncio

from store import migrations
from store.engine import PATIENCE, database
from store.sql import SqlStore


async def open_store(
    address: str, *, relaxed: bool = False, patience: float = PATIENCE
) -> SqlStore:
    """Open a store and check that its schema is this version's.

    Args:
        address: ``sqlite+aiosqlite:///FILE`` or ``postgresql+asyncpg://…``.
        relaxed: Do not wait for the disk at each commit. A crash of the machine (SQLite) or of the
            server (PostgreSQL) may then lose the last moments before it.
        patience: Seconds after which a server that does not answer counts as away.

    Raises:
        StoreAddressError: The address is neither.
        StoreUnavailableError: The database cannot be reached.
        SchemaError: The schema is missing, older or newer; the message says what to do.
    """
    opened = database(address, relaxed=relaxed, patience=patience)
    try:
        await asyncio.to_thread(opened.require_file)
        await migrations.check_schema(opened)
    except BaseException:
        await opened.close()
        raise
    return SqlStore(opened)
