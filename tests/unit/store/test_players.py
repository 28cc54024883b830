"""On SQLite many rows are told at once, and nobody can tell from what is stored."""

import sqlite3
from collections.abc import Iterator

import pytest

from store.players import on_sqlite
from store.script import Isolation, Script, Tell
from store.wide import WIDTHS

WIDE = max(WIDTHS)
INSERT = "INSERT INTO notes (name, times) VALUES (?, ?)"
UPSERT = INSERT + " ON CONFLICT (name) DO UPDATE SET times = excluded.times"
UPDATE = "UPDATE notes SET times = ? WHERE name = ?"
SIZES = [0, 1, WIDE - 1, WIDE, WIDE + 1, 3 * WIDE + 5]


@pytest.fixture
def notes() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE notes (name TEXT PRIMARY KEY, times INTEGER NOT NULL)")
    yield connection
    connection.close()


def told(connection: sqlite3.Connection, text: str, rows: list[tuple[object, ...]]) -> None:
    def script() -> Script[None]:
        yield Tell(text, rows)

    on_sqlite(connection, script(), Isolation.WRITING)


def stored(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT name, times FROM notes ORDER BY rowid").fetchall()


def numbered(size: int) -> list[tuple[object, ...]]:
    return [(f"note-{number}", number) for number in range(size)]


@pytest.mark.parametrize("size", SIZES)
def test_every_row_is_written_once_and_in_order(notes: sqlite3.Connection, size: int) -> None:
    """Whether or not their number fills the wide statement."""
    told(notes, INSERT, numbered(size))
    assert stored(notes) == numbered(size)


@pytest.mark.parametrize("size", SIZES)
def test_rows_that_are_there_are_replaced(notes: sqlite3.Connection, size: int) -> None:
    """An upsert stays one when it is wide."""
    told(notes, INSERT, [(name, -1) for name, _ in numbered(size)])
    told(notes, UPSERT, numbered(size))
    assert stored(notes) == numbered(size)


def test_what_is_no_insert_is_executed_row_by_row(notes: sqlite3.Connection) -> None:
    """An update has no wide form."""
    rows = numbered(2 * WIDE)
    told(notes, INSERT, rows)
    told(notes, UPDATE, [(0, name) for name, _ in rows])
    assert {times for _, times in stored(notes)} == {0}


@pytest.mark.parametrize("place", [0, WIDE - 1, WIDE, 2 * WIDE])
def test_one_row_that_is_refused_leaves_nothing(notes: sqlite3.Connection, place: int) -> None:
    """Wherever it stands: the transaction is whole or not at all."""
    rows = numbered(2 * WIDE + 3)
    rows[place] = (rows[-1][0], 0)
    with pytest.raises(sqlite3.IntegrityError):
        told(notes, INSERT, rows)
    assert stored(notes) == []
