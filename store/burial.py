"""Burial: dead letters as they are written, a message that dies again keeping its one letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from store.codec import blobs_in
from store.engine import named
from store.flavours import Flavour
from store.tables import blob_references, dead_letters, is_nameless

_Key = tuple[object, ...]

_SINKING: Final = (DeadLetterStatus.REDRIVEN, DeadLetterStatus.OPEN, DeadLetterStatus.CLOSED)
"""Which letter takes a death, where a message has several. A discarded one never does."""

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

_IDENTITY: Final = [
    dead_letters.c[name]
    for name in (
        "id",
        "runtime_id",
        "source_queue",
        "message_id",
        "status",
        "body_digest",
        "deaths",
        "redrive_count",
    )
]


@dataclass(slots=True)
class _Grave:
    """The letter of a message: as stored, or made in this very commit."""

    row: dict[str, Any]
    is_new: bool
    is_changed: bool = False

    def holds(self, row: dict[str, Any]) -> bool:
        """Tell whether a death is one of this letter's message.

        Two messages under one id are one if their bytes are the same: a delivery that came twice,
        not a conflict. An input that was redriven and whose attempts are exhausted is the same
        one too: its bytes are now those of the store, which keeps its images elsewhere.
        """
        if self.row["body_digest"] == row["body_digest"]:
            return True
        exhausted = row["reason"] == DeadLetterReason.ATTEMPTS_EXHAUSTED.value
        return bool(exhausted and self.row["redrive_count"] > 0)

    def take(self, row: dict[str, Any]) -> None:
        """Let the message die again; a death that is written already is not another one."""
        if row["id"] == self.row["id"]:
            return
        again = {name: row[name] for name in _LAST_DEATH}
        self.row.update(again, deaths=self.row["deaths"] + 1)
        self.is_changed = True


async def bury(
    connection: AsyncConnection, flavour: Flavour, rows: Sequence[dict[str, Any]]
) -> None:
    """Write dead letters, as ``Codec.letter`` makes them, in a transaction that has begun.

    A message that has a letter already counts another death there, and opens it again: it was
    delivered twice, or redriven, or processed and given up later. A message is told by its runtime
    and its id; one without an id by the queue that it died in. A discarded letter stays as it is: a
    new one is made.
    """
    if not rows:
        return
    await connection.run_sync(flavour.lock_burials)
    graves = await _standing(connection, flavour, rows)
    made: list[_Grave] = []
    for row in rows:
        grave = next((one for one in graves[_key(row)] if one.holds(row)), None)
        if grave is not None:
            grave.take(row)
        else:
            made.append(_Grave(row, is_new=True))
            graves[_key(row)].append(made[-1])
    await _write(connection, flavour, made, graves)


async def _standing(
    connection: AsyncConnection, flavour: Flavour, rows: Sequence[dict[str, Any]]
) -> defaultdict[_Key, list[_Grave]]:
    """Find and lock the letters that the messages have already, in the order of ``_SINKING``."""
    columns = dead_letters.c
    message_ids = {row["message_id"] for row in rows if row["message_id"] is not None}
    digests = {row["body_digest"] for row in rows if row["message_id"] is None}
    found = []
    if message_ids:
        named_so = flavour.among(columns.message_id, sorted(message_ids))
        found += await _found(connection, flavour, named_so)
    if digests:
        alike = flavour.among(columns.body_digest, sorted(digests))
        found += await _found(connection, flavour, is_nameless, alike)
    graves: defaultdict[_Key, list[_Grave]] = defaultdict(list)
    for row in sorted(found, key=lambda row: _SINKING.index(row["status"])):
        graves[_key(row)].append(_Grave(row, is_new=False))
    return graves


async def _found(
    connection: AsyncConnection, flavour: Flavour, *where: ColumnElement[bool]
) -> list[dict[str, Any]]:
    """Find letters; in the order of their ids, so that two who lock the same ones do not block."""
    query = select(*_IDENTITY).where(
        *where, dead_letters.c.status.in_([status.value for status in _SINKING])
    )
    locked = flavour.locking(query.order_by(dead_letters.c.id))
    return named(await connection.execute(locked))


def _key(row: dict[str, Any]) -> _Key:
    if row["message_id"] is None:
        return row["runtime_id"], row["source_queue"], row["body_digest"]
    return row["runtime_id"], row["message_id"]


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
    await _hold_blobs(connection, flavour, graves)
    if changed:
        key = bindparam("key", type_=dead_letters.c.id.type)
        values = {name: bindparam(name, type_=dead_letters.c[name].type) for name in _LAST_DEATH}
        update = dead_letters.update().where(dead_letters.c.id == key).values(values)
        await connection.execute(update, changed)


async def _hold_blobs(
    connection: AsyncConnection, flavour: Flavour, graves: dict[_Key, list[_Grave]]
) -> None:
    """Note the blobs that letters need, so that they are there when a letter is redriven."""
    held = [
        {
            "blob_id": blob_id,
            "runtime_id": grave.row["runtime_id"] or "",
            "holder_id": grave.row["id"],
        }
        for standing in graves.values()
        for grave in standing
        if grave.is_new or grave.is_changed
        for blob_id in blobs_in(grave.row["body"])
    ]
    if held:
        insert = flavour.insert(blob_references).on_conflict_do_nothing()
        await connection.execute(insert, held)
