"""Transfer: dead letters out as JSON lines, and in again."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.errors import MalformedError
from schemas.ids import DeadLetterId, RuntimeIdText
from store.dead_letters import Letter, LetterFilter
from store.paging import MOST
from store.ports import Commit, CommitResult
from store.sql import SqlStore

BATCH: Final = 100
"""Letters of one transaction."""

QUIET_SECONDS: Final = 0.5
"""How long a queue says nothing before it is asked whether it is empty."""


class Exported(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dead letter on a line. ``body`` is text, or base64 where it is no UTF-8."""

    id: DeadLetterId
    source_queue: str
    properties: dict[str, Any]
    reason: DeadLetterReason
    detail: str
    last_at: datetime
    body: str
    runtime_id: RuntimeIdText | None = None
    message_id: str | None = None
    type: str | None = None
    body_base64: bool = False

    @classmethod
    def of(cls, letter: Letter, body: bytes) -> Exported:
        """Write a letter."""
        try:
            text, is_base64 = body.decode(), False
        except UnicodeDecodeError:
            text, is_base64 = base64.b64encode(body).decode(), True
        taken = {name: getattr(letter, name) for name in _TAKEN}
        return cls(**taken, body=text, body_base64=is_base64)

    def letter(self) -> DeadLetter:
        """Read it back, as a death at the moment of its last one.

        Raises:
            MalformedError: The base64 is none.
        """
        try:
            body = base64.b64decode(self.body, validate=True) if self.body_base64 else None
        except binascii.Error as error:
            raise MalformedError("$.body", "expected base64") from error
        taken = {name: getattr(self, name) for name in _TAKEN if name != "last_at"}
        return DeadLetter(
            **taken, body=self.body.encode() if body is None else body, at=self.last_at
        )


_TAKEN: Final = (
    "id",
    "runtime_id",
    "source_queue",
    "message_id",
    "type",
    "properties",
    "reason",
    "detail",
    "last_at",
)
_lines: Final = msgspec.json.Decoder(Exported)


async def exported(
    store: SqlStore, wanted: LetterFilter, *, limit: int | None = None
) -> AsyncIterator[Exported]:
    """Write letters out, the latest death first, one in memory at a time."""
    after: str | None = None
    left = limit
    while left is None or left > 0:
        most = MOST if left is None else min(MOST, left)
        page = await store.dead_letters.letters(wanted, limit=most, after=after)
        for letter in page.items:
            there = await store.dead_letters.get(letter.id)
            if there is not None:
                yield Exported.of(*there)
        after = page.next
        left = None if left is None else left - most
        if after is None:
            return


def parsed(line: bytes) -> DeadLetter:
    """Read a line that ``exported`` wrote.

    Raises:
        MalformedError: Names the field that is wrong.
    """
    try:
        return _lines.decode(line).letter()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError.from_decoder(error) from error


async def imported(store: SqlStore, letters: Iterable[DeadLetter]) -> int:
    """Keep letters in one transaction, as open ones; answers how many the database took.

    One that is here already, by its id or as the same message, is not there twice.
    """
    parts = [Commit(None, 0, dead_letters=(letter,)) for letter in letters]
    results = await store.commit(parts)
    return results.count(CommitResult.COMMITTED)
