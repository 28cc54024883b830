"""Letter acts: what people do with dead letters, each with who did it, when, and why."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import DeadLetterId
from schemas.lifecycle import RuntimeState
from schemas.records import OutboxMessage
from store import codec
from store.codec import READ_ERRORS, Codec
from store.dead_letters import Letter, read_letter
from store.engine import Database, named
from store.tables import dead_letters, letter_edits, runtimes
from store.writes import Statements, Write

Status = DeadLetterStatus
Compose = Callable[[Letter, bytes], OutboxMessage | None]
"""Makes the message that publishes a letter again; None if it has nowhere to go."""


class Act(msgspec.Struct, frozen=True):
    """Who does something with letters, when, and why."""

    who: str
    at: datetime
    note: str | None = None


class Edit(msgspec.Struct, frozen=True):
    """Another body for a letter.

    Attributes:
        body: The new one.
        diff: What is different, for people.
        before: The digest (SHA-256, hex) of the body that it was made from.
    """

    body: bytes
    diff: str
    before: str


class Answer(enum.StrEnum):
    """What became of a letter that was to be redriven."""

    REDRIVEN = "redriven"
    MISSING = "missing"
    NOT_OPEN = "not_open"
    """Somebody else was faster, or it was settled otherwise."""
    CHANGED = "changed"
    """Its body is no longer the one that the edit was made from."""
    DESTROYED = "destroyed"
    """Its runtime takes nothing, ever."""
    NOWHERE = "nowhere"
    """It names no runtime, and no queue that it could be published to."""
    DAMAGED = "damaged"
    """Its row cannot be read."""


class Redriven(msgspec.Struct, frozen=True):
    """What became of one letter, and the message that is in the outbox now."""

    letter_id: DeadLetterId
    answer: Answer
    message: OutboxMessage | None = None


@dataclass(frozen=True, slots=True)
class LetterActs:
    """What is done with the dead letters of a database. Every act is one transaction."""

    database: Database
    codec: Codec
    statements: Statements

    async def redrive(
        self,
        letter_ids: Sequence[DeadLetterId],
        act: Act,
        compose: Compose,
        *,
        edit: Edit | None = None,
    ) -> tuple[Redriven, ...]:
        """Have letters published again: marked, and their messages in the outbox, at once.

        A letter whose message is for no runtime is closed right away: nobody reports what becomes
        of it. With an ``edit``, of one letter, its body is replaced first; the old one is kept.
        """
        async with self.database.writing() as connection:
            rows = await self._locked(connection, letter_ids)
            destroyed = await self._destroyed(connection, rows.values())
            answers = [
                self._answer(letter_id, rows.get(letter_id), destroyed, compose, edit)
                for letter_id in letter_ids
            ]
            sent = [one for one in answers if one.message is not None]
            if sent:
                await self._mark(connection, sent, act, edit)
                await self._send(connection, sent)
            if edit is not None:
                await self._keep_old(connection, [rows[one.letter_id] for one in sent], act, edit)
        return tuple(answers)

    async def discard(
        self, letter_ids: Sequence[DeadLetterId], act: Act
    ) -> tuple[DeadLetterId, ...]:
        """Give letters up. Answers those that were open."""
        return await self._move(letter_ids, (Status.OPEN,), Status.DISCARDED, act)

    async def reopen(
        self, letter_ids: Sequence[DeadLetterId], act: Act
    ) -> tuple[DeadLetterId, ...]:
        """Open letters that are not, whatever became of them. Answers those."""
        others = (Status.DISCARDED, Status.REDRIVEN, Status.CLOSED)
        return await self._move(letter_ids, others, Status.OPEN, act)

    # --- reading ---------------------------------------------------------------------------------

    async def _locked(
        self, connection: AsyncConnection, letter_ids: Sequence[DeadLetterId]
    ) -> dict[DeadLetterId, dict[str, Any]]:
        """Lock letters, in the order of their ids, so that two who lock the same do not block."""
        flavour = self.database.flavour
        ids = [self.codec.uuid(letter_id) for letter_id in letter_ids]
        query = select(dead_letters).where(flavour.among(dead_letters.c.id, ids))
        found = await connection.execute(flavour.locking(query.order_by(dead_letters.c.id)))
        return {codec.read_id(row["id"]): row for row in named(found)}

    async def _destroyed(
        self, connection: AsyncConnection, rows: Iterable[dict[str, Any]]
    ) -> frozenset[str]:
        owners = sorted({row["runtime_id"] for row in rows if row["runtime_id"] is not None})
        query = select(runtimes.c.runtime_id).where(
            self.database.flavour.among(runtimes.c.runtime_id, owners),
            runtimes.c.state == RuntimeState.DESTROYED.value,
        )
        return frozenset((await connection.execute(query)).scalars())

    def _answer(
        self,
        letter_id: DeadLetterId,
        row: dict[str, Any] | None,
        destroyed: frozenset[str],
        compose: Compose,
        edit: Edit | None,
    ) -> Redriven:
        answer = _refusal(row, destroyed, edit)
        if answer is not None or row is None:
            return Redriven(letter_id, answer or Answer.MISSING)
        body = row["body"] if edit is None else edit.body
        try:
            letter = read_letter({**row, "redrive_count": row["redrive_count"] + 1})
        except READ_ERRORS:
            return Redriven(letter_id, Answer.DAMAGED)
        message = compose(letter, body)
        if message is None:
            return Redriven(letter_id, Answer.NOWHERE)
        return Redriven(letter_id, Answer.REDRIVEN, message)

    # --- writing ---------------------------------------------------------------------------------

    async def _mark(
        self,
        connection: AsyncConnection,
        sent: Sequence[Redriven],
        act: Act,
        edit: Edit | None,
    ) -> None:
        edited = {} if edit is None else _body(edit.body)
        rows = [
            {
                "key": self.codec.uuid(one.letter_id),
                "status": _status(one).value,
                **self._signed(act),
                **edited,
            }
            for one in sent
        ]
        values = {name: _parameter(name) for name in rows[0] if name != "key"}
        update = (
            dead_letters.update()
            .where(dead_letters.c.id == bindparam("key", type_=dead_letters.c.id.type))
            .values(**values, redrive_count=dead_letters.c.redrive_count + 1)
        )
        await connection.execute(update, rows)

    async def _send(self, connection: AsyncConnection, sent: Sequence[Redriven]) -> None:
        rows = [self.codec.outgoing(one.message) for one in sent if one.message is not None]
        await connection.exec_driver_sql(self.statements.text(Write.INSERT_OUTBOX), rows)

    async def _keep_old(
        self, connection: AsyncConnection, rows: Sequence[dict[str, Any]], act: Act, edit: Edit
    ) -> None:
        for row in rows:
            kept = {
                "letter_id": row["id"],
                "redrive_count": row["redrive_count"] + 1,
                "at": self.codec.moment(act.at),
                "who": codec.harmless(act.who),
                "why": codec.harmless(act.note or ""),
                "diff": codec.harmless(edit.diff),
                "body_before": row["body"],
            }
            await connection.execute(letter_edits.insert(), kept)

    async def _move(
        self,
        letter_ids: Sequence[DeadLetterId],
        from_: Sequence[DeadLetterStatus],
        to: DeadLetterStatus,
        act: Act,
    ) -> tuple[DeadLetterId, ...]:
        async with self.database.writing() as connection:
            rows = await self._locked(connection, letter_ids)
            moved = {letter_id for letter_id, row in rows.items() if row["status"] in from_}
            ids = [self.codec.uuid(letter_id) for letter_id in moved]
            update = dead_letters.update().where(
                self.database.flavour.among(dead_letters.c.id, ids)
            )
            await connection.execute(update.values(status=to.value, **self._signed(act)))
        return tuple(letter_id for letter_id in letter_ids if letter_id in moved)

    def _signed(self, act: Act) -> dict[str, object]:
        signed: dict[str, object] = {
            "who": codec.harmless(act.who),
            "acted_at": self.codec.moment(act.at),
        }
        return signed if act.note is None else {**signed, "note": codec.harmless(act.note)}


def _refusal(
    row: dict[str, Any] | None, destroyed: frozenset[str], edit: Edit | None
) -> Answer | None:
    if row is None:
        return Answer.MISSING
    if row["status"] != Status.OPEN.value:
        return Answer.NOT_OPEN
    if row["runtime_id"] in destroyed:
        return Answer.DESTROYED
    if edit is not None and edit.before != row["body_digest"]:
        return Answer.CHANGED
    return None


def _status(one: Redriven) -> DeadLetterStatus:
    reports = one.message is not None and one.message.runtime_id is not None
    return Status.REDRIVEN if reports else Status.CLOSED


def _body(body: bytes) -> dict[str, object]:
    return {"body": body, "body_size": len(body), "body_digest": sha256(body).hexdigest()}


def _parameter(name: str) -> Any:  # noqa: ANN401 - SQLAlchemy's, of the column's type
    return bindparam(name, type_=dead_letters.c[name].type)
