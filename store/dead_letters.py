"""Dead letters, for people: lists, groups, one letter with its bytes, what is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, func, select, tuple_

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import DeadLetterId, RuntimeId
from schemas.records import OutboxMessage
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.errors import DamagedRowError
from store.paging import MOST, Page, key_of, page
from store.tables import dead_letters
from store.writes import Statements, Write


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


@dataclass(frozen=True, slots=True)
class _Move:
    """A change of status that a person makes."""

    from_: DeadLetterStatus
    to: DeadLetterStatus
    who: str
    at: datetime
    note: str | None = None


class Redrive(msgspec.Struct, frozen=True):
    """A letter to publish again, and the message that does it."""

    letter_id: DeadLetterId
    message: OutboxMessage


_COLUMNS: Final = dead_letters.c
_WITHOUT_BODY: Final = [column for column in _COLUMNS if column.name not in {"body", "body_digest"}]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters of a database."""

    database: Database
    codec: Codec
    statements: Statements

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
        return page(rows, limit, read=_letter, key=("last_at", "id"))

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
                return _letter(row), body
            except READ_ERRORS as error:
                raise DamagedRowError("dead_letters", str(letter_id), codec.fault(error)) from error
        return None

    async def redrive(
        self, redrives: Sequence[Redrive], *, who: str, now: datetime
    ) -> tuple[DeadLetterId, ...]:
        """Publish letters again: mark each redriven and put its message into the outbox, at once.

        Answers the letters that were. A letter that is not open (somebody else was faster) is left
        alone, and so is its message.
        """
        async with self.database.writing() as connection:
            marked = self._moved(
                [redrive.letter_id for redrive in redrives],
                _Move(DeadLetterStatus.OPEN, DeadLetterStatus.REDRIVEN, who, now),
            ).values(redrive_count=_COLUMNS.redrive_count + 1)
            won = {codec.read_id(row[0]) for row in await connection.execute(marked)}
            rows = [
                self.codec.outgoing(redrive.message)
                for redrive in redrives
                if redrive.letter_id in won
            ]
            if rows:
                await connection.exec_driver_sql(self.statements.text(Write.INSERT_OUTBOX), rows)
        return tuple(redrive.letter_id for redrive in redrives if redrive.letter_id in won)

    async def discard(
        self, letter_ids: Sequence[DeadLetterId], *, who: str, note: str, now: datetime
    ) -> tuple[DeadLetterId, ...]:
        """Give letters up, saying why. Answers those that were open."""
        move = _Move(DeadLetterStatus.OPEN, DeadLetterStatus.DISCARDED, who, now, note)
        return await self._move(letter_ids, move)

    async def reopen(
        self, letter_ids: Sequence[DeadLetterId], *, who: str, note: str, now: datetime
    ) -> tuple[DeadLetterId, ...]:
        """Take back that letters were discarded. Answers those that were."""
        move = _Move(DeadLetterStatus.DISCARDED, DeadLetterStatus.OPEN, who, now, note)
        return await self._move(letter_ids, move)

    async def _move(
        self, letter_ids: Sequence[DeadLetterId], move: _Move
    ) -> tuple[DeadLetterId, ...]:
        async with self.database.writing() as connection:
            found = await connection.execute(self._moved(letter_ids, move))
            moved = {codec.read_id(row[0]) for row in found}
        return tuple(letter_id for letter_id in letter_ids if letter_id in moved)

    def _moved(self, letter_ids: Sequence[DeadLetterId], move: _Move) -> Any:  # noqa: ANN401
        ids = [self.codec.uuid(letter_id) for letter_id in letter_ids]
        changed: dict[str, object] = {
            "status": move.to.value,
            "who": codec.harmless(move.who),
            "acted_at": self.codec.moment(move.at),
        }
        if move.note is not None:
            changed["note"] = codec.harmless(move.note)
        return (
            dead_letters.update()
            .where(
                self.database.flavour.among(_COLUMNS.id, ids),
                _COLUMNS.status == move.from_.value,
            )
            .values(changed)
            .returning(_COLUMNS.id)
        )

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
            .where(latest.c.fingerprint == groups.c.fingerprint, *self._where(wanted, latest))
            .order_by(latest.c.last_at.desc())
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


def _letter(row: dict[str, Any]) -> Letter:
    return msgspec.convert(
        {**row, "properties": codec.read_object(row["properties"])}, Letter, strict=False
    )


def _group(row: dict[str, Any], example: dict[str, Any]) -> tuple[LetterGroup, ...]:
    """Read a group; one whose example is damaged is left out: the list shows the damage."""
    try:
        letter = _letter(example)
        values = {**row, "reason": letter.reason, "example": letter}
        return (msgspec.convert(values, LetterGroup, strict=False),)
    except READ_ERRORS:
        return ()
