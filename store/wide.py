"""Wide statements: one that does for many rows what a statement does for one, on SQLite.

Each step of SQLite lets go of the interpreter's lock and waits for it again. A busy event loop
gives it back late: row by row, a commit of some forty rows waits longer for the lock than it works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, count
from typing import Any, Final

WIDTHS: Final = (32, *range(16, 1, -1))
"""Rows of a wide statement: 23 columns of the widest stay below every SQLite's bound on parameters.

Up to 16 rows are one statement, and more are few. The connection keeps all of them prepared: three
megabytes.
"""

Row = tuple[Any, ...]


def widened(text: str, rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Go through statements that together do what a statement does for each of many rows.

    The rows of an UPDATE or a DELETE must differ in what they look for.
    """
    done = 0
    for width in WIDTHS:
        wide = _wide(text, width) if len(rows) - done >= width else None
        while wide is not None and len(rows) - done >= width:
            yield wide, tuple(chain.from_iterable(rows[done : done + width]))
            done += width
    for row in rows[done:]:
        yield text, row


_INSERT: Final = re.compile(r"(INSERT .+? VALUES )(\([?, ]+\))(.*)", re.DOTALL)
_UPDATE: Final = re.compile(r"(UPDATE \w+ SET .+)( WHERE .+)", re.DOTALL)
_DELETE: Final = re.compile(r"(DELETE FROM \w+ WHERE )([\w.]+ = \?(?: AND [\w.]+ = \?)*)")

_PLACE: Final = re.compile(r"\?")


@lru_cache(maxsize=512)
def _wide(text: str, width: int) -> str | None:
    """Write a statement of one row as one of many; None for what has no such form."""
    if insert := _INSERT.fullmatch(text):
        head, row, tail = insert.groups()
        return f"{head}{', '.join([row] * width)}{tail}"
    if update := _UPDATE.fullmatch(text):
        rows = ", ".join([f"({', '.join('?' * text.count('?'))})"] * width)
        places = count(1)
        head, tail = (
            _PLACE.sub(lambda _: f"v.column{next(places)}", part) for part in update.groups()
        )
        return f"{head} FROM (VALUES {rows}) AS v{tail}"
    if delete := _DELETE.fullmatch(text):
        # Not as rows among VALUES: SQLite would walk the whole table for those.
        head, one = delete.groups()
        return head + " OR ".join([f"({one})"] * width)
    return None
