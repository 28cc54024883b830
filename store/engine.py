"""The engine: a database's connections and transactions, and the one border for its errors."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import ClauseElement, Result
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler

from store.errors import SchemaError, StoreAddressError, StoreError
from store.flavours import MIGRATE, Flavour, Postgresql, Sqlite
from store.script import Isolation, Script

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Database:
    """A database: transactions that write, transactions that read, and what flavour it is.

    Every error that leaves one of its transactions is a ``StoreError``.
    """

    flavour: Flavour
    writer: AsyncEngine
    reader: AsyncEngine

    @property
    def dialect(self) -> Dialect:
        """What SQL text is compiled for."""
        return self.writer.dialect

    def require_file(self) -> None:
        """Raise ``SchemaError`` if it is a file that is not there: SQLite would make it."""
        file = self.writer.url.database
        if isinstance(self.flavour, Sqlite) and not Path(file or "").exists():
            raise SchemaError(f"no database at {file}: {MIGRATE}")

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that writes: all of it is durable when this ends, or none of it."""
        with self._border():
            async with self.writer.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that reads, and sees one moment of the database."""
        with self._border():
            async with self.reader.begin() as connection:
                yield connection

    async def write(self, script: Script[_T]) -> _T:
        """Run a script that writes: all of it is durable when this ends, or none of it."""
        with self._border():
            return await self.flavour.run(self.writer, script, Isolation.WRITING)

    async def read(self, script: Script[_T]) -> _T:
        """Run a script that reads, and sees one moment of the database."""
        with self._border():
            return await self.flavour.run(self.reader, script, Isolation.ONE_MOMENT)

    async def look(self, script: Script[_T]) -> _T:
        """Run a script that reads, where no two answers need to be of one moment."""
        with self._border():
            return await self.flavour.run(self.reader, script, Isolation.NONE)

    def text(self, statement: ClauseElement, names: Sequence[str] | None = None) -> str:
        """Compile a statement for a script.

        Args:
            statement: What is to be executed.
            names: Its parameters in the order in which a script gives them, to be checked.
        """
        compiled = statement.compile(dialect=self.dialect, column_keys=names)
        if names is not None:
            order = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
            if order != list(names):
                raise AssertionError(f"parameters are {order}, not {names}")
        return str(compiled)

    async def close(self) -> None:
        """Let go of all connections; a server that is silent is not waited for to say goodbye."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(self.writer.dispose(), self.reader.dispose())

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        """Translate the driver's errors here and nowhere else."""
        try:
            yield
        except StoreError:
            raise
        except (*_FOREIGN, self.dialect.loaded_dbapi.Error) as error:
            raise self.flavour.translate(error) from error


_FOREIGN: Final = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    sqlite3.Error,
    OSError,
    TimeoutError,
    UnicodeEncodeError,
    OverflowError,
)


def named(result: Result[Any]) -> list[dict[str, Any]]:
    """Read all rows by the names of their columns, in plain dictionaries."""
    names = [str(name) for name in result.keys()]  # noqa: SIM118 - a result is not a mapping
    return [dict(zip(names, row, strict=True)) for row in result]


PATIENCE: Final = 30.0
CLOSE_SECONDS: Final = 3.0
LAST_PORT: Final = 65_535


def database(address: str, *, relaxed: bool = False, patience: float = PATIENCE) -> Database:
    """Prepare a database by its address; connects to nothing yet.

    Args:
        address: ``sqlite+aiosqlite:///FILE`` or ``postgresql+asyncpg://…``.
        relaxed: Do not wait for the disk at each commit. A crash of the machine (SQLite) or of the
            server (PostgreSQL) may then lose the last moments before it.
        patience: Seconds after which a server that does not answer counts as away.

    Raises:
        StoreAddressError: The address is neither.
    """
    url = _url(address)
    flavour: Flavour = Sqlite() if url.drivername == "sqlite+aiosqlite" else Postgresql()
    return Database(flavour, *flavour.engines(url, relaxed=relaxed, patience=patience))


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise StoreAddressError(_EXPECTED) from error
    if not 0 <= (url.port or 0) <= LAST_PORT:
        raise StoreAddressError(f"expected a port from 0 to {LAST_PORT}")
    if url.drivername not in {"sqlite+aiosqlite", "postgresql+asyncpg"}:
        raise StoreAddressError(f"{_EXPECTED}, got {url.drivername}")
    if url.drivername == "sqlite+aiosqlite" and url.database in {None, "", ":memory:"}:
        raise StoreAddressError("expected a file: a database in memory serves one connection only")
    return url


_EXPECTED: Final = (
    "expected a database address: sqlite+aiosqlite:///FILE or postgresql+asyncpg://HOST/NAME"
)
