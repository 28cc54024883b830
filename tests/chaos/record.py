"""The publishers' record: what was sent and what the broker confirmed, in order, append-only.

It is all that the checker knows of the load, so it imports nothing of the worker.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import IO, Final

import msgspec


class What(enum.StrEnum):
    """What a message is to its runtime."""

    INPUT = "input"
    AGAIN = "again"
    """An input that was confirmed before, published once more, byte for byte."""
    TWIN = "twin"
    """Another input with the idempotency key of one that was confirmed before."""
    CONFLICT = "conflict"
    """Another body under the id of an input that was confirmed before."""
    MALFORMED = "malformed"
    COMMAND = "command"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message, as its publisher knows it.

    Attributes:
        runtime_id: Where it was sent.
        id: Its message id.
        what: What it is.
        place: Its place among the messages of its runtime, from 0: one publisher sends them, and
            waits for the confirms of what comes before.
        digest: SHA-256 of its body, hex.
        key: Its idempotency key.
        is_confirmed: Whether the broker has confirmed it.
        at: When it was written down, in seconds since 1970.
    """

    runtime_id: str
    id: str
    what: What
    place: int
    digest: str
    key: str | None = None
    is_confirmed: bool = False
    at: float = 0.0


_encode: Final = msgspec.json.Encoder().encode


class Record:
    """Writes entries: each message twice, before it is sent first and when it is confirmed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("xb", buffering=0)

    def note(self, entry: Entry) -> None:
        """Append an entry."""
        self._file.write(_encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[Entry]:
    """Read a record."""
    decode = msgspec.json.Decoder(Entry).decode
    return [decode(line) for line in path.read_bytes().splitlines()]
