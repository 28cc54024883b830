"""Scripts: the statements of a transaction in order, each decided by the answers to those before.

A script talks to nothing itself. So the hot paths can be run where it costs least: on SQLite in the
connection's own thread, in one go; on PostgreSQL one statement after the other.
"""

from __future__ import annotations

import enum
import re
import sqlite3
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeVar, assert_never

from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A statement that answers rows."""

    text: str
    parameters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """A statement that is executed over many rows and answers nothing."""

    text: str
    rows: Sequence[tuple[Any, ...]]


class Isolation(enum.Enum):
    """What a script needs of its transaction."""

    WRITING = enum.auto()
    """All of it is durable at the end, or none of it."""
    ONE_MOMENT = enum.auto()
    """It reads, and all of its answers are of one moment."""
    NONE = enum.auto()
    """It reads, and each answer is of its own moment."""


Script = Generator[Ask | Tell, Rows, T]


async def play(connection: AsyncConnection, script: Script[T]) -> T:
    """Run a script in the transaction of a connection."""
    answer: Rows = []
    try:
        step = next(script)
        while True:
            answer = await _answered(connection, step)
            step = script.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _answered(connection: AsyncConnection, step: Ask | Tell) -> Rows:
    match step:
        case Ask():
            found = await connection.exec_driver_sql(step.text, step.parameters)
            return [tuple(row) for row in found]
        case Tell():
            await connection.exec_driver_sql(step.text, list(step.rows))
            return []
        case _:
            assert_never(step)


_BEGIN = {Isolation.WRITING: "BEGIN IMMEDIATE", Isolation.ONE_MOMENT: "BEGIN"}


def played(connection: sqlite3.Connection, script: Script[T], isolation: Isolation) -> T:
    """Run a script on SQLite's own connection, its transaction included."""
    try:
        if isolation in _BEGIN:
            connection.execute(_BEGIN[isolation])
        result = _played(connection, script)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return result


def _played(connection: sqlite3.Connection, script: Script[T]) -> T:
    try:
        step = next(script)
        while True:
            step = script.send(_answer(connection, step))
    except StopIteration as end:
        result: T = end.value
        return result


def _answer(connection: sqlite3.Connection, step: Ask | Tell) -> Rows:
    match step:
        case Ask():
            return connection.execute(step.text, step.parameters).fetchall()
        case Tell():
            _tell(connection, step.text, step.rows)
            return []
        case _:
            assert_never(step)


WIDE: Final = 32
"""Rows of one wide INSERT: 23 columns of as many stay below every SQLite's bound on parameters."""


def _tell(connection: sqlite3.Connection, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute a statement over rows; an INSERT over many at a time.

    Each step of SQLite lets go of the interpreter's lock and waits for it again. A busy event loop
    gives it back late: row by row, a commit takes half as long again, and slows the loop too.
    """
    done = 0
    if len(rows) >= WIDE and (wide := _widened(text)) is not None:
        done = len(rows) - len(rows) % WIDE
        parts = (rows[at : at + WIDE] for at in range(0, done, WIDE))
        connection.executemany(wide, (tuple(chain.from_iterable(part)) for part in parts))
    connection.executemany(text, rows[done:])


_INSERT: Final = re.compile(r"(INSERT .+? VALUES )(\([?, ]+\))(.*)", re.DOTALL)


@lru_cache(maxsize=64)
def _widened(text: str) -> str | None:
    """Write an INSERT of one row as one of many; None for any other statement."""
    found = _INSERT.fullmatch(text)
    if found is None:
        return None
    head, row, tail = found.groups()
    return head + ", ".join([row] * WIDE) + tail
