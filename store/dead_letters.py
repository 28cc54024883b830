"""Dead letters, for people: lists, groups, one letter with its bytes and what was changed of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, func, select, tuple_

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import DeadLetterId, RuntimeId
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.errors import DamagedRowError
from store.paging import MOST, Page, key_of, page
from store.tables import dead_letters, letter_edits


class Letter(msgspec.Struct, frozen=True):
    """A dead letter without its body.

    ``deaths`` counts how often its message came to nothing; ``acted_at``, ``who`` and ``note`` tell
    what a person did last.
    """

    id: DeadLetterId
    runtime_id: RuntimeId | None
    source_queue: str
    message_id: str | None
    type: str | None
    reason: DeadLetterReason
    detail: str
    fingerprint: str
    status: DeadLetterStatus
    first_at: datetime
    last_at: datetime
    deaths: int
    redrive_count: int
    note: str | None
    who: str | None
    acted_at: datetime | None
    properties: dict[str, Any]
    body_size: int


class LetterGroup(msgspec.Struct, frozen=True):
    """Letters that failed alike, with the latest of them as the example."""

    fingerprint: str
    reason: DeadLetterReason
    count: int
    first_at: datetime
    last_at: datetime
    example: Letter


class LetterFilter(msgspec.Struct, frozen=True):
    """Which letters are meant; None means any. ``since`` looks at the latest death."""

    status: DeadLetterStatus | None = DeadLetterStatus.OPEN
    runtime_id: RuntimeId | None = None
    reason: DeadLetterReason | None = None
    fingerprint: str | None = None
    since: datetime | None = None


class LetterEdit(msgspec.Struct, frozen=True):
    """What a person changed of a letter's body before having it published again."""

    redrive_count: int
    at: datetime
    who: str
    why: str
    diff: str
    body_before: bytes


_COLUMNS: Final = dead_letters.c
_WITHOUT_BODY: Final = [column for column in _COLUMNS if column.name not in {"body", "body_digest"}]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters of a database."""

    database: Database
    codec: Codec

    async def letters(
        self, wanted: LetterFilter, *, limit: int = 50, after: str | None = None
    ) -> Page[Letter]:
        """List letters, the latest death first."""
        limit = min(limit, MOST)
        query = (
            select(*_WITHOUT_BODY)
            .where(*self._where(wanted, dead_letters), *self._after(after))
            .order_by(_COLUMNS.last_at.desc(), _COLUMNS.id.desc())
            .limit(limit + 1)
        )
        rows = await self._read(query)
        return page(rows, limit, read=read_letter, key=("last_at", "id"))

    async def count(self, wanted: LetterFilter) -> int:
        """Count letters."""
        query = select(func.count().label("count")).select_from(dead_letters)
        (row,) = await self._read(query.where(*self._where(wanted, dead_letters)))
        return int(row["count"])

    async def groups(self, wanted: LetterFilter, *, limit: int = MOST) -> tuple[LetterGroup, ...]:
        """List groups of letters that failed alike, the largest first."""
        groups = await self._read(self._grouped(wanted, limit))
        examples = {row["example_id"] for row in groups}
        query = select(*_WITHOUT_BODY).where(
            self.database.flavour.among(_COLUMNS.id, sorted(examples))
        )
        letters = {row["id"]: row for row in await self._read(query)}
        return tuple(
            group
            for row in groups
            if row["example_id"] in letters
            for group in _group(row, letters[row["example_id"]])
        )

    async def get(self, letter_id: DeadLetterId) -> tuple[Letter, bytes] | None:
        """Read one letter with its body; None if there is no such letter."""
        query = select(*_WITHOUT_BODY, _COLUMNS.body).where(
            _COLUMNS.id == self.codec.uuid(letter_id)
        )
        for row in await self._read(query):
            body = row.pop("body")
            try:
                return read_letter(row), body
            except READ_ERRORS as error:
                raise DamagedRowError("dead_letters", str(letter_id), codec.fault(error)) from error
        return None

    async def edits(self, letter_id: DeadLetterId) -> tuple[LetterEdit, ...]:
        """Read what was changed of a letter, the first change first."""
        query = (
            select(letter_edits)
            .where(letter_edits.c.letter_id == self.codec.uuid(letter_id))
            .order_by(letter_edits.c.redrive_count)
        )
        return tuple(
            msgspec.convert(row, LetterEdit, strict=False) for row in await self._read(query)
        )

    async def open_ids(
        self, wanted: LetterFilter, *, limit: int, after: DeadLetterId | None = None
    ) -> list[tuple[DeadLetterId, int]]:
        """Name open letters with the sizes of their bodies, in the order of their first deaths.

        The order is that of the ids: what is done to the letters of one piece, or happens to them
        meanwhile, does not change where the next piece begins.
        """
        still_open = msgspec.structs.replace(wanted, status=DeadLetterStatus.OPEN)
        query = (
            select(_COLUMNS.id, _COLUMNS.body_size)
            .where(*self._where(still_open, dead_letters))
            .order_by(_COLUMNS.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(_COLUMNS.id > self.codec.uuid(after))
        return [(codec.read_id(row["id"]), row["body_size"]) for row in await self._read(query)]

    def _grouped(self, wanted: LetterFilter, limit: int) -> Select[Any]:
        """Count by fingerprint, and look up the latest letter of each: a step in an index."""
        groups = (
            select(
                _COLUMNS.fingerprint,
                func.count().label("count"),
                func.min(_COLUMNS.first_at).label("first_at"),
                func.max(_COLUMNS.last_at).label("last_at"),
            )
            .where(*self._where(wanted, dead_letters))
            .group_by(_COLUMNS.fingerprint)
            .order_by(func.count().desc(), _COLUMNS.fingerprint)
            .limit(limit)
            .subquery()
        )
        latest = dead_letters.alias("latest")
        example = (
            select(latest.c.id)
            .where(
                latest.c.fingerprint == groups.c.fingerprint,
                latest.c.last_at == groups.c.last_at,
                *self._where(wanted, latest),
            )
            .limit(1)
            .scalar_subquery()
        )
        return select(*groups.c, example.label("example_id")).order_by(
            groups.c.count.desc(), groups.c.fingerprint
        )

    def _where(self, wanted: LetterFilter, letters: FromClause) -> list[ColumnElement[bool]]:
        equal = {
            "status": wanted.status and wanted.status.value,
            "runtime_id": wanted.runtime_id,
            "reason": wanted.reason and wanted.reason.value,
            "fingerprint": wanted.fingerprint,
        }
        where = [letters.c[name] == value for name, value in equal.items() if value is not None]
        if wanted.since is not None:
            where.append(letters.c.last_at >= self.codec.moment(wanted.since))
        return where

    def _after(self, after: str | None) -> list[ColumnElement[bool]]:
        if after is None:
            return []
        last_at, letter_id = key_of(after, tuple[datetime, UUID])
        key = (self.codec.moment(last_at), self.codec.uuid(letter_id))
        return [tuple_(_COLUMNS.last_at, _COLUMNS.id) < key]

    async def _read(self, query: Select[Any]) -> list[dict[str, Any]]:
        async with self.database.reading() as connection:
            return named(await connection.execute(query))


def read_letter(row: dict[str, Any]) -> Letter:
    """Read a letter, or raise one of ``READ_ERRORS``."""
    return msgspec.convert(
        {**row, "properties": codec.read_object(row["properties"])}, Letter, strict=False
    )


def _group(row: dict[str, Any], example: dict[str, Any]) -> tuple[LetterGroup, ...]:
    """Read a group; one whose example is damaged is left out: the list shows the damage."""
    try:
        letter = read_letter(example)
        values = {**row, "reason": letter.reason, "example": letter}
        return (msgspec.convert(values, LetterGroup, strict=False),)
    except READ_ERRORS:
        return ()
