"""Players: run a script on SQLAlchemy's connection, or below it on a driver's own.

The drivers are for what happens with every message. SQLAlchemy's connection makes a switch of
greenlets of each step, which costs more than the step.
"""

from __future__ import annotations

import sqlite3
from itertools import chain
from typing import Any, Final, TypeVar, assert_never

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from store.script import Ask, AskEach, Isolation, Rows, Script, Step, Tell
from store.wide import widened

T = TypeVar("T")


# --- SQLAlchemy ----------------------------------------------------------------------------------


async def on_sqlalchemy(connection: AsyncConnection, script: Script[T]) -> T:
    """Play a script in the transaction of a connection."""
    try:
        step = next(script)
        while True:
            step = script.send(await _of_sqlalchemy(connection, step))
    except StopIteration as end:
        result: T = end.value
        return result


async def _of_sqlalchemy(connection: AsyncConnection, step: Step) -> Rows:
    match step:
        case Ask():
            found = await connection.exec_driver_sql(step.text, step.parameters)
            return [tuple(row) for row in found]
        case AskEach():
            asks = (Ask(step.text, parameters) for parameters in step.parameters)
            return [row for ask in asks for row in await _of_sqlalchemy(connection, ask)]
        case Tell():
            await connection.exec_driver_sql(step.text, list(step.rows))
            return []
        case _:
            assert_never(step)


# --- asyncpg -------------------------------------------------------------------------------------

_TRANSACTIONS: Final[dict[Isolation, dict[str, Any]]] = {
    Isolation.WRITING: {},
    Isolation.ONE_MOMENT: {"isolation": "repeatable_read", "readonly": True},
}


async def on_asyncpg(connection: asyncpg.Connection, script: Script[T], isolation: Isolation) -> T:
    """Play a script on PostgreSQL's own connection, its transaction included.

    What needs no transaction is spared its beginning and its end.
    """
    if isolation is Isolation.NONE:
        return await _on_asyncpg(connection, script)
    async with connection.transaction(**_TRANSACTIONS[isolation]):
        return await _on_asyncpg(connection, script)


async def _on_asyncpg(connection: asyncpg.Connection, script: Script[T]) -> T:
    try:
        step = next(script)
        while True:
            step = script.send(await _of_asyncpg(connection, step))
    except StopIteration as end:
        result: T = end.value
        return result


async def _of_asyncpg(connection: asyncpg.Connection, step: Step) -> Rows:
    match step:
        case Ask():
            return [tuple(row) for row in await connection.fetch(step.text, *step.parameters)]
        case AskEach():
            # One round trip, however many.
            found = await connection.fetchmany(step.text, step.parameters)
            return [tuple(row) for row in found]
        case Tell():
            await connection.executemany(step.text, step.rows)
            return []
        case _:
            assert_never(step)


# --- SQLite --------------------------------------------------------------------------------------

_BEGIN: Final = {Isolation.WRITING: "BEGIN IMMEDIATE", Isolation.ONE_MOMENT: "BEGIN"}


def on_sqlite(connection: sqlite3.Connection, script: Script[T], isolation: Isolation) -> T:
    """Play a script on SQLite's own connection, its transaction included, in its thread."""
    try:
        if isolation in _BEGIN:
            connection.execute(_BEGIN[isolation])
        result = _on_sqlite(connection, script)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return result


def _on_sqlite(connection: sqlite3.Connection, script: Script[T]) -> T:
    try:
        step = next(script)
        while True:
            step = script.send(_of_sqlite(connection, step))
    except StopIteration as end:
        result: T = end.value
        return result


def _of_sqlite(connection: sqlite3.Connection, step: Step) -> Rows:
    match step:
        case Ask():
            return connection.execute(step.text, step.parameters).fetchall()
        case AskEach():
            answers = (connection.execute(step.text, one).fetchall() for one in step.parameters)
            return list(chain.from_iterable(answers))
        case Tell():
            for text, row in widened(step.text, step.rows):
                connection.execute(text, row)
            return []
        case _:
            assert_never(step)
