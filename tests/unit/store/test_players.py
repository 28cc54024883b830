"""On SQLite many rows are told at once, and nobody can tell from what is stored."""

import sqlite3
from collections.abc import Iterator, Sequence

import pytest

from store.players import on_sqlite
from store.script import Isolation, Script, Tell
from store.wide import WIDTHS

WIDE = max(WIDTHS)
INSERT = "INSERT INTO notes (name, times) VALUES (?, ?)"
UPSERT = INSERT + " ON CONFLICT (name) DO UPDATE SET times = excluded.times"
UPDATE = "UPDATE notes SET times = ? WHERE notes.name = ?"
DELETE = "DELETE FROM notes WHERE notes.name = ? AND notes.times = ?"
DELETE_EVEN = "DELETE FROM notes WHERE notes.name = ? AND notes.times % 2 = 0 AND notes.times = ?"
SIZES = [0, 1, WIDE - 1, WIDE, WIDE + 1, 3 * WIDE + 5]


@pytest.fixture
def notes() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE notes (name TEXT PRIMARY KEY, times INTEGER NOT NULL)")
    yield connection
    connection.close()


def told(connection: sqlite3.Connection, text: str, rows: Sequence[tuple[object, ...]]) -> None:
    def script() -> Script[None]:
        yield Tell(text, rows)

    on_sqlite(connection, script(), Isolation.WRITING)


def stored(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT name, times FROM notes ORDER BY rowid").fetchall()


def numbered(size: int) -> list[tuple[str, int]]:
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


@pytest.mark.parametrize("size", SIZES)
def test_every_row_is_updated_to_its_own_values(notes: sqlite3.Connection, size: int) -> None:
    """And no other one, nor one that is not there."""
    told(notes, INSERT, numbered(size + 1))
    told(notes, UPDATE, [(number * 10, name) for name, number in numbered(size)])
    told(notes, UPDATE, [(0, f"nobody-{number}") for number in range(size)])
    assert stored(notes) == [
        *((name, number * 10) for name, number in numbered(size)),
        (f"note-{size}", size),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", [DELETE, DELETE_EVEN])
def test_every_row_that_is_named_is_deleted(
    notes: sqlite3.Connection, size: int, text: str
) -> None:
    """By all that names it: a note that was changed meanwhile stays. What has no wide form too."""
    told(notes, INSERT, numbered(size + 1))
    told(
        notes, text, [(name, number if number % 2 == 0 else -1) for name, number in numbered(size)]
    )
    odd = [(name, number) for name, number in numbered(size) if number % 2]
    assert stored(notes) == [*odd, (f"note-{size}", size)]


def test_many_rows_take_few_steps(notes: sqlite3.Connection) -> None:
    """At each step SQLite lets go of the interpreter's lock, and may get it back late."""
    steps: list[str] = []
    told(notes, INSERT, numbered(63))
    notes.set_trace_callback(steps.append)
    told(notes, UPDATE, [(0, name) for name, _ in numbered(63)])
    told(notes, DELETE, [(name, 0) for name, _ in numbered(63)])
    assert stored(notes) == []
    # Begin and commit of two transactions; 63 = 32 + 16 + 15, twice; the reading.
    assert len(steps) == 4 + 2 * 3 + 1


@pytest.mark.parametrize("place", [0, WIDE - 1, WIDE, 2 * WIDE])
def test_one_row_that_is_refused_leaves_nothing(notes: sqlite3.Connection, place: int) -> None:
    """Wherever it stands: the transaction is whole or not at all."""
    rows = numbered(2 * WIDE + 3)
    rows[place] = (rows[-1][0], 0)
    with pytest.raises(sqlite3.IntegrityError):
        told(notes, INSERT, rows)
    assert stored(notes) == []
