"""Flavours: every difference between SQLite and PostgreSQL, and no other."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    Text,
    bindparam,
    event,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas.ids import id_text
from store.errors import (
    RefusedError,
    SchemaError,
    StoreAddressError,
    StoreError,
    StoreUnavailableError,
)
from store.players import on_asyncpg, on_sqlite
from store.script import Isolation, Rows, Script

_T = TypeVar("_T")

Upsert = sqlite.Insert | postgresql.Insert
"""An INSERT that knows ON CONFLICT."""

MIGRATE: Final = "run `meerkat-worker migrate`"


class Flavour(Protocol):
    """What differs between the databases. One of ``Sqlite`` and ``Postgresql``."""

    def engines(
        self, url: URL, *, relaxed: bool, patience: float
    ) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines that write and that read."""
        ...

    async def run(self, engine: AsyncEngine, script: Script[_T], isolation: Isolation) -> _T:
        """Run a script in a transaction of its own."""
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

    def pairs(self, columns: PairOfColumns, values: Pairs) -> Select[Any]:
        """Make rows of pairs of values, in one statement text whatever their number."""
        ...

    def among_arguments(self, values: Sequence[object]) -> tuple[object, ...]:
        """Make the parameters that ``among`` has in a compiled text."""
        ...

    def pairs_arguments(self, values: Pairs) -> tuple[object, ...]:
        """Make the parameters that ``pairs`` has in a compiled text."""
        ...

    def folded(self, query: Select[Any]) -> Select[Any]:
        """Have a query of two columns answer in as few rows as costs least; see ``unfolded``."""
        ...

    def unfolded(self, rows: Rows) -> dict[Any, Any]:
        """Read what a folded query answers: from its first column to its second."""
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


_POOL: Final[dict[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 0,  # one that is opened for a moment costs more than waiting for another
    "pool_use_lifo": True,  # the one used last has the statements prepared
}

Pairs = Sequence[tuple[object, object]]
PairOfColumns = tuple[ColumnElement[Any], ColumnElement[Any]]


@lru_cache(maxsize=1024)
def _text_of(value: datetime) -> str:
    """Write a moment in UTC, all of one width. A batch's rows share their moments: hence cached."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


class Sqlite:
    """SQLite 3.35 and later through aiosqlite.

    One connection writes and others read, so that readers never wait for the writer.
    """

    def engines(
        self,
        url: URL,
        *,
        relaxed: bool,
        patience: float,  # noqa: ARG002 - a file does not fall silent
    ) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines.

        A transaction that writes takes the lock at once, not at its first write, when it might be
        too late to wait for it.
        """
        level = "NORMAL" if relaxed else "FULL"
        writer = create_async_engine(url, **{**_POOL, "pool_size": 1}, **_SQLITE)
        _set_up_sqlite(
            writer.sync_engine, "BEGIN IMMEDIATE", "journal_mode=WAL", f"synchronous={level}"
        )
        reader = create_async_engine(url, **_POOL, **_SQLITE)
        _set_up_sqlite(reader.sync_engine, "BEGIN", "query_only=ON")
        return writer, reader

    async def run(self, engine: AsyncEngine, script: Script[_T], isolation: Isolation) -> _T:
        """In the connection's thread, in one go: every step there and back costs a switch of it."""
        pooled = await engine.raw_connection()
        raw: Any = pooled.driver_connection
        try:
            # aiosqlite has no public way to run a function there; it has had this one since ever.
            return cast("_T", await raw._execute(on_sqlite, raw._conn, script, isolation))  # noqa: SLF001
        finally:
            pooled.close()

    def uuid(self, value: UUID) -> object:
        """Text: people read these files."""
        return id_text(value)

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
        rows = func.json_each(_listed(values)).table_valued("value")
        return column.in_(select(rows.c.value))

    def pairs(
        self,
        columns: PairOfColumns,  # noqa: ARG002 - the values say what they are
        values: Pairs,
    ) -> Select[Any]:
        """Through a JSON list of lists."""
        rows = func.json_each(_listed(values)).table_valued("value")
        first, second = (
            func.json_extract(rows.c.value, literal_column(f"'$[{side}]'")) for side in (0, 1)
        )
        return select(first.label("first"), second.label("second"))

    def among_arguments(self, values: Sequence[object]) -> tuple[object, ...]:
        """One: the list."""
        return (_json(values),)

    def pairs_arguments(self, values: Pairs) -> tuple[object, ...]:
        """One: the list of lists."""
        return (_json(values),)

    def folded(self, query: Select[Any]) -> Select[Any]:
        """One: each row is a step, for which see ``wide``. A damaged number counts as missing."""
        rows = query.subquery()
        _, number = rows.c
        whole = func.typeof(number) == literal_column("'integer'")
        return select(func.json_group_object(*rows.c)).where(whole)

    def unfolded(self, rows: Rows) -> dict[Any, Any]:
        """From a JSON object."""
        return cast("dict[Any, Any]", msgspec.json.decode(rows[0][0]))

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


_SQLITE: Final[dict[str, Any]] = {
    # Room for all wide statements: of Python's 128, busy ones would push each other out.
    "connect_args": {"timeout": 10.0, "cached_statements": 512},
    # Every transaction here ends by itself: one more rollback would be one more switch of threads.
    "pool_reset_on_return": None,
}
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

    def invalidated(connection: Any, *_: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
        # A cancelled call goes on in its thread. To close a connection does not end its transaction
        # while a cursor lives, in the traceback for one, and the file would stay locked.
        raw = connection.driver_connection
        # Looked up in its thread: there it may be closed by then, which is as good.
        raw._tx.put_nowait((None, lambda: raw._conn.rollback()))  # noqa: SLF001, PLW0108

    event.listen(engine, "connect", connected)
    event.listen(engine, "invalidate", invalidated)
    event.listen(engine, "begin", begun)


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(values).decode()


def _listed(values: Sequence[object]) -> ColumnElement[Any]:
    return bindparam(None, _json(values), type_=Text())


class Postgresql:
    """PostgreSQL 12 and later through asyncpg."""

    def engines(
        self, url: URL, *, relaxed: bool, patience: float
    ) -> tuple[AsyncEngine, AsyncEngine]:
        """Make the engines; the reader's transactions see one moment of the database."""
        unknown = sorted(url.query.keys() - _POSTGRES_OPTIONS)
        if unknown:
            raise StoreAddressError(f"no option of PostgreSQL's driver: {', '.join(unknown)}")
        settings = _POSTGRES_SETTINGS | ({"synchronous_commit": "off"} if relaxed else {})
        connect = {"timeout": 10, "command_timeout": patience, "server_settings": settings}
        writer = create_async_engine(url, **_POOL, connect_args=connect)
        reader = create_async_engine(
            url,
            **_POOL,
            connect_args=connect,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
        for engine in (writer, reader):
            event.listen(engine.sync_engine, "checkout", _pass_over_the_dead)
        return writer, reader

    async def run(self, engine: AsyncEngine, script: Script[_T], isolation: Isolation) -> _T:
        """On the driver's own connection, step by step."""
        pooled = await engine.raw_connection()
        raw: Any = pooled.driver_connection
        try:
            result = await on_asyncpg(raw, script, isolation)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError) or raw.is_in_transaction():
                pooled.invalidate()  # Nobody knows what it is doing now.
            else:
                pooled.close()
            raise
        pooled.close()
        return result

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

    def among_arguments(self, values: Sequence[object]) -> tuple[object, ...]:
        """One: the array."""
        return (list(values),)

    def pairs_arguments(self, values: Pairs) -> tuple[object, ...]:
        """Two: the array of the first and that of the second values."""
        return ([first for first, _ in values], [second for _, second in values])

    def pairs(self, columns: PairOfColumns, values: Pairs) -> Select[Any]:
        """Through two arrays."""
        arrays = [
            bindparam(None, [pair[side] for pair in values], type_=postgresql.ARRAY(column.type))
            for side, column in enumerate(columns)
        ]
        rows = func.unnest(*arrays).table_valued("first", "second").render_derived()
        return select(rows.c.first, rows.c.second)

    def folded(self, query: Select[Any]) -> Select[Any]:
        """As they are."""
        return query

    def unfolded(self, rows: Rows) -> dict[Any, Any]:
        """As they are."""
        return dict(rows)

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
_POSTGRES_OPTIONS: Final = {
    *inspect.signature(asyncpg.connect).parameters,
    "prepared_statement_cache_size",
}
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
