"""The engine: connections and transactions, and every difference between SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Result,
    Select,
    Table,
    Text,
    bindparam,
    event,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store.errors import (
    RefusedError,
    SchemaError,
    StoreAddressError,
    StoreError,
    StoreUnavailableError,
)

Upsert = sqlite.Insert | postgresql.Insert
"""An INSERT that knows ON CONFLICT."""

MIGRATE: Final = "run `meerkat-worker migrate`"


class Flavour(Protocol):
    """What differs between the databases. One of ``Sqlite`` and ``Postgresql``."""

    def engines(self, url: URL, *, relaxed: bool) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines that write and that read."""
        ...

    def uuid(self, value: UUID) -> object:
        """Bring a UUID to what the column holds."""
        ...

    def moment(self, value: datetime) -> object:
        """Bring a moment to what the column holds; its order is the order of time."""
        ...

    def locking(self, query: Select[Any]) -> Select[Any]:
        """Lock the rows that are read until the transaction ends."""
        ...

    def claiming(self, query: Select[Any]) -> Select[Any]:
        """Lock the rows that are read, leaving out those that another transaction holds."""
        ...

    def insert(self, table: Table) -> Upsert:
        """Begin an INSERT with ON CONFLICT."""
        ...

    def among(self, column: ColumnElement[Any], values: Sequence[object]) -> ColumnElement[bool]:
        """Test a column against any number of values, in one parameter and one statement text."""
        ...

    def pairs(
        self, columns: tuple[ColumnElement[Any], ColumnElement[Any]], values: Pairs
    ) -> Select[Any]:
        """Make rows of pairs of values, in one statement text whatever their number."""
        ...

    def lock_schema(self, connection: Connection) -> None:
        """Keep other migrations out until the transaction ends."""
        ...

    def lock_burials(self, connection: Connection) -> None:
        """Keep other writers of dead letters out: two of one message must see each other."""
        ...

    def translate(self, error: BaseException) -> StoreError:
        """Say an error of the driver in the store's words."""
        ...


Pairs = Sequence[tuple[object, object]]


@lru_cache(maxsize=1024)
def _text_of(value: datetime) -> str:
    """Write a moment in UTC, all of one width. A batch's rows share their moments: hence cached."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


class Sqlite:
    """SQLite 3.35 and later through aiosqlite.

    One connection writes and others read, so that readers never wait for the writer.
    """

    def engines(self, url: URL, *, relaxed: bool) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines.

        A transaction that writes takes the lock at once, not at its first write, when it might be
        too late to wait for it.
        """
        level = "NORMAL" if relaxed else "FULL"
        writer = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=_SQLITE_CONNECT)
        _set_up_sqlite(
            writer.sync_engine, "BEGIN IMMEDIATE", "journal_mode=WAL", f"synchronous={level}"
        )
        reader = create_async_engine(url, pool_size=4, max_overflow=4, connect_args=_SQLITE_CONNECT)
        _set_up_sqlite(reader.sync_engine, "BEGIN", "query_only=ON")
        return writer, reader

    def uuid(self, value: UUID) -> object:
        """Text: people read these files."""
        return str(value)

    def moment(self, value: datetime) -> object:
        """ISO 8601 in UTC with microseconds."""
        return _text_of(value)

    def locking(self, query: Select[Any]) -> Select[Any]:
        """Nothing: BEGIN IMMEDIATE has locked it all."""
        return query

    def claiming(self, query: Select[Any]) -> Select[Any]:
        """Nothing: BEGIN IMMEDIATE has locked it all."""
        return query

    def insert(self, table: Table) -> Upsert:
        """SQLite's."""
        return sqlite.insert(table)

    def among(self, column: ColumnElement[Any], values: Sequence[object]) -> ColumnElement[bool]:
        """Through a JSON list."""
        rows = func.json_each(_json(values)).table_valued("value")
        return column.in_(select(rows.c.value))

    def pairs(
        self,
        columns: tuple[ColumnElement[Any], ColumnElement[Any]],  # noqa: ARG002 - types by value
        values: Pairs,
    ) -> Select[Any]:
        """Through a JSON list of lists."""
        rows = func.json_each(_json(values)).table_valued("value")
        return select(
            func.json_extract(rows.c.value, "$[0]").label("first"),
            func.json_extract(rows.c.value, "$[1]").label("second"),
        )

    def lock_schema(self, connection: Connection) -> None:
        """Nothing: BEGIN IMMEDIATE has locked it all."""

    def lock_burials(self, connection: Connection) -> None:
        """Nothing: BEGIN IMMEDIATE has locked it all."""

    def translate(self, error: BaseException) -> StoreError:
        """By SQLite's own name of the error."""
        cause = _driver_error(error, sqlite3.Error)
        name = getattr(cause, "sqlite_errorname", "") or ""
        if isinstance(cause, sqlite3.IntegrityError) or name in _SQLITE_REFUSALS:
            return RefusedError(f"the database refuses it: {cause}")
        if "no such table" in str(cause) or "no such column" in str(cause):
            return SchemaError(f"the database's schema is not this version's: {MIGRATE}")
        if isinstance(cause, sqlite3.InterfaceError | UnicodeEncodeError | OverflowError):
            return RefusedError(f"the database cannot hold a value: {type(cause).__name__}")
        return StoreUnavailableError(f"the SQLite database cannot be used now: {cause}")


_SQLITE_CONNECT: Final = {"timeout": 10.0}
_SQLITE_REFUSALS: Final = frozenset({"SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_RANGE"})
_SQLITE_PRAGMAS: Final = (
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-32768",
    # A group commit writes a megabyte: with the default of 1,000 pages each would end in a
    # checkpoint and its fsync.
    "wal_autocheckpoint=8000",
)


def _set_up_sqlite(engine: Engine, begin: str, *pragmas: str) -> None:
    """Set each new connection's pragmas, and begin transactions ourselves."""

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
        connection.isolation_level = None  # else the driver begins, late and deferred
        cursor = connection.cursor()
        for pragma in (*pragmas, *_SQLITE_PRAGMAS):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def _json(values: Sequence[object]) -> ColumnElement[Any]:
    return bindparam(None, msgspec.json.encode(values).decode(), type_=Text())


class Postgresql:
    """PostgreSQL 12 and later through asyncpg."""

    def engines(self, url: URL, *, relaxed: bool) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines; the reader's transactions see one moment of the database."""
        settings = _POSTGRES_SETTINGS | ({"synchronous_commit": "off"} if relaxed else {})
        connect = {"timeout": 10, "command_timeout": 60, "server_settings": settings}
        writer = create_async_engine(url, pool_size=8, max_overflow=8, connect_args=connect)
        reader = create_async_engine(
            url,
            pool_size=8,
            max_overflow=8,
            connect_args=connect,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
        for engine in (writer, reader):
            event.listen(engine.sync_engine, "checkout", _pass_over_the_dead)
        return writer, reader

    def uuid(self, value: UUID) -> object:
        """As it is."""
        return value

    def moment(self, value: datetime) -> object:
        """As it is."""
        return value

    def locking(self, query: Select[Any]) -> Select[Any]:
        """FOR UPDATE."""
        return query.with_for_update()

    def claiming(self, query: Select[Any]) -> Select[Any]:
        """FOR UPDATE SKIP LOCKED."""
        return query.with_for_update(skip_locked=True)

    def insert(self, table: Table) -> Upsert:
        """PostgreSQL's."""
        return postgresql.insert(table)

    def among(self, column: ColumnElement[Any], values: Sequence[object]) -> ColumnElement[bool]:
        """Through an array."""
        array = bindparam(None, list(values), type_=postgresql.ARRAY(column.type))
        return column == func.any(array)

    def pairs(
        self, columns: tuple[ColumnElement[Any], ColumnElement[Any]], values: Pairs
    ) -> Select[Any]:
        """Through two arrays."""
        arrays = [
            bindparam(None, [pair[side] for pair in values], type_=postgresql.ARRAY(column.type))
            for side, column in enumerate(columns)
        ]
        rows = func.unnest(*arrays).table_valued("first", "second").render_derived()
        return select(rows.c.first, rows.c.second)

    def lock_schema(self, connection: Connection) -> None:
        """An advisory lock of our own number."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def lock_burials(self, connection: Connection) -> None:
        """Another one."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK + 1})")

    def translate(self, error: BaseException) -> StoreError:
        """By the class of the SQLSTATE; what the driver itself refuses has none."""
        cause = _driver_error(error, (asyncpg.PostgresError, *_UNHOLDABLE))
        if isinstance(cause, asyncpg.PostgresError):
            return _of_sqlstate(cause)
        if isinstance(cause, _UNHOLDABLE):
            return RefusedError(f"the database cannot hold a value: {type(cause).__name__}")
        return StoreUnavailableError(
            f"PostgreSQL cannot be reached: {_first_line(cause) or type(cause).__name__}"
        )


def _pass_over_the_dead(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401
    """Take another connection from the pool if this one has died: its driver knows already."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


_SCHEMA_LOCK: Final = 7_346_230_194_511_382
_POSTGRES_SETTINGS: Final = {
    "application_name": "meerkat-worker",
    # A worker that is stopped in mid-transaction must not hold its runtimes' rows for ever.
    "idle_in_transaction_session_timeout": "10000",
    "lock_timeout": "15000",
    "jit": "off",
    "timezone": "UTC",
}
_UNHOLDABLE: Final = (asyncpg.DataError, UnicodeEncodeError, OverflowError)
_REFUSED: Final = frozenset({"22", "23", "54"})
_SCHEMA: Final = frozenset({"42P01", "42703", "3F000"})


def _of_sqlstate(error: asyncpg.PostgresError) -> StoreError:
    state = error.sqlstate or ""
    if state[:2] in _REFUSED:
        where = error.as_dict().get("constraint_name") or type(error).__name__
        return RefusedError(f"the database refuses it: {where}")
    if state in _SCHEMA:
        return SchemaError(f"the database's schema is not this version's: {MIGRATE}")
    return StoreUnavailableError(f"PostgreSQL cannot be used now: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    """Drop the lines that quote values."""
    return next(iter(str(error).splitlines()), "")


def _driver_error(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> BaseException:
    """Find the driver's own error below SQLAlchemy's."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, kinds):
            return below
        below = getattr(below, "orig", None) or below.__cause__
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


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

    async def close(self) -> None:
        """Let go of all connections."""
        await self.writer.dispose()
        await self.reader.dispose()

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        """Translate the driver's errors here and nowhere else."""
        try:
            yield
        except StoreError:
            raise
        except (*_FOREIGN,) as error:
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


def database(address: str, *, relaxed: bool = False) -> Database:
    """Prepare a database by its address; connects to nothing yet.

    Args:
        address: ``sqlite+aiosqlite:///FILE`` or ``postgresql+asyncpg://…``.
        relaxed: Do not wait for the disk at each commit. A crash of the machine (SQLite) or of the
            server (PostgreSQL) may then lose the last moments before it.

    Raises:
        StoreAddressError: The address is neither.
    """
    url = _url(address)
    flavour: Flavour = Sqlite() if url.drivername == "sqlite+aiosqlite" else Postgresql()
    return Database(flavour, *flavour.engines(url, relaxed=relaxed))


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise StoreAddressError(_EXPECTED) from error
    if url.drivername not in {"sqlite+aiosqlite", "postgresql+asyncpg"}:
        raise StoreAddressError(f"{_EXPECTED}, got {url.drivername}")
    if url.drivername == "sqlite+aiosqlite" and url.database in {None, "", ":memory:"}:
        raise StoreAddressError("expected a file: a database in memory serves one connection only")
    return url


_EXPECTED: Final = (
    "expected a database address: sqlite+aiosqlite:///FILE or postgresql+asyncpg://HOST/NAME"
)
