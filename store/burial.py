"""Burial: dead letters as they are written, a message that dies again keeping its one letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.dead_letters import DeadLetter, DeadLetterStatus
from store.codec import Codec
from store.engine import Flavour, named
from store.tables import dead_letters

_Key = tuple[str | None, str]

_LAST_DEATH: Final = (
    "status",
    "deaths",
    "last_at",
    "reason",
    "fingerprint",
    "detail",
    "properties",
    "body_digest",
    "body_size",
    "body",
)
"""What a letter takes over from its message's latest death."""


@dataclass(slots=True)
class _Grave:
    """The letter of a message: as stored, or made in this very commit."""

    row: dict[str, Any]
    is_new: bool
    is_changed: bool = False

    def holds(self, row: dict[str, Any]) -> bool:
        """Tell whether a death is one of this letter's message.

        A message that was redriven may have been edited. Otherwise two messages under one id are
        one if their bytes are the same: a delivery that came twice, not a conflict.
        """
        if self.row["status"] == DeadLetterStatus.REDRIVEN.value:
            return True
        return bool(self.row["body_digest"] == row["body_digest"])

    def take(self, row: dict[str, Any]) -> None:
        """Let the message die again."""
        again = {name: row[name] for name in _LAST_DEATH}
        self.row.update(again, deaths=self.row["deaths"] + 1)
        self.is_changed = True


async def bury(
    connection: AsyncConnection, flavour: Flavour, codec: Codec, letters: Sequence[DeadLetter]
) -> None:
    """Write dead letters in a transaction that has begun.

    A message (one runtime, one message id) whose letter is redriven reopens that letter; one whose
    letter is open and holds the same bytes counts another death there. A discarded letter stays as
    it is: a new one is made.
    """
    if not letters:
        return
    rows = [dict(codec.letter(letter)) for letter in letters]
    graves = await _standing(connection, flavour, rows)
    made: list[_Grave] = []
    for row in rows:
        grave = next((one for one in graves[_key(row)] if one.holds(row)), None)
        if grave is not None and row["message_id"] is not None:
            grave.take(row)
        else:
            made.append(_Grave(row, is_new=True))
            graves[_key(row)].append(made[-1])
    await _write(connection, flavour, made, graves)


async def _standing(
    connection: AsyncConnection, flavour: Flavour, rows: Sequence[dict[str, Any]]
) -> defaultdict[_Key, list[_Grave]]:
    """Find and lock the letters that the messages have already; redriven ones come first."""
    graves: defaultdict[_Key, list[_Grave]] = defaultdict(list)
    message_ids = sorted({row["message_id"] for row in rows if row["message_id"] is not None})
    if not message_ids:
        return graves
    columns = dead_letters.c
    living = [DeadLetterStatus.REDRIVEN.value, DeadLetterStatus.OPEN.value]
    query = (
        select(
            columns.id,
            columns.runtime_id,
            columns.message_id,
            columns.status,
            columns.body_digest,
            columns.deaths,
        )
        .where(flavour.among(columns.message_id, message_ids), columns.status.in_(living))
        .order_by(columns.status.desc(), columns.id)
    )
    for row in named(await connection.execute(flavour.locking(query))):
        graves[_key(row)].append(_Grave(row, is_new=False))
    return graves


def _key(row: dict[str, Any]) -> _Key:
    return row["runtime_id"], row["message_id"] or ""


async def _write(
    connection: AsyncConnection,
    flavour: Flavour,
    made: Sequence[_Grave],
    graves: dict[_Key, list[_Grave]],
) -> None:
    if made:
        # A letter that is there already stays: a commit whose answer was lost may be made again.
        insert = flavour.insert(dead_letters).on_conflict_do_nothing(index_elements=["id"])
        await connection.execute(insert, [grave.row for grave in made])
    changed = [
        {"key": grave.row["id"], **{name: grave.row[name] for name in _LAST_DEATH}}
        for standing in graves.values()
        for grave in standing
        if grave.is_changed and not grave.is_new
    ]
    if changed:
        key = bindparam("key", type_=dead_letters.c.id.type)
        values = {name: bindparam(name, type_=dead_letters.c[name].type) for name in _LAST_DEATH}
        update = dead_letters.update().where(dead_letters.c.id == key).values(values)
        await connection.execute(update, changed)
