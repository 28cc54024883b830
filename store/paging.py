"""Pages: long lists read piece by piece, each piece going on where the last one ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from schemas.records import CorruptRecord
from store import codec
from store.codec import READ_ERRORS
from store.errors import StoreError

T = TypeVar("T")

MOST: Final = 1000
"""The most rows of one page."""


class CursorError(StoreError, ValueError):
    """A cursor that no page has answered."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A piece of a list.

    Attributes:
        items: The rows that could be read, in order.
        next: The cursor of the next piece; None at the end of the list.
        damaged: Rows of this piece that could not be read.
    """

    items: tuple[T, ...]
    next: str | None = None
    damaged: tuple[CorruptRecord, ...] = ()


def page(
    rows: Sequence[dict[str, Any]],
    limit: int,
    *,
    read: Callable[[dict[str, Any]], T],
    key: Sequence[str],
) -> Page[T]:
    """Make a page of up to ``limit`` rows; one row more says that there is a next page.

    Args:
        rows: What was found.
        limit: How many rows were asked for.
        read: Reads one row.
        key: The columns that the list is ordered by; the first of them names a damaged row.
    """
    items: list[T] = []
    damaged: list[CorruptRecord] = []
    for row in rows[:limit]:
        try:
            items.append(read(row))
        except READ_ERRORS as error:
            named = str(row[key[-1]])
            damaged.append(CorruptRecord(named, codec.fault(error), codec.raw_row(row)))
    more = len(rows) > limit
    after = cursor([rows[limit - 1][name] for name in key]) if more else None
    return Page(tuple(items), after, tuple(damaged))


def cursor(key: Sequence[object]) -> str:
    """Write where a page ends."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(text: str, kinds: Any) -> Any:  # noqa: ANN401 - a tuple type, and a tuple of it
    """Read where a page ended.

    Raises:
        CursorError: The text is not a cursor of this list.
    """
    padded = text + "=" * (-len(text) % 4)
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=kinds)
    except (binascii.Error, ValueError) as error:
        raise CursorError("expected a cursor that a page of this list has answered") from error
