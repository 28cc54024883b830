"""Retention: what is over and old is deleted, in steps so small that nobody waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Delete, Table, func, not_, select, tuple_

from schemas.dead_letters import DeadLetterStatus
from store.codec import Codec
from store.engine import Database
from store.tables import (
    blob_references,
    commands,
    dead_letters,
    inputs,
    is_active,
    receipts,
    runs,
    runtimes,
)

STEP: Final = 500
"""Rows of one transaction."""


class Windows(msgspec.Struct, frozen=True):
    """For how long what is over is kept; None keeps it for ever.

    Attributes:
        inputs: Ended inputs, with payload and history, since they ended. It is the time in which a
            duplicate is recognised. Commands are kept for as long.
        receipts: Receipts since their commit, and runs since their end.
        dead_letters: Letters that were discarded or settled, since then. An open one stays.
    """

    inputs: timedelta | None = timedelta(days=7)
    receipts: timedelta | None = timedelta(days=30)
    dead_letters: timedelta | None = timedelta(days=90)

    def __post_init__(self) -> None:
        """A receipt outlives the inputs that it proves."""
        kept = [timedelta.max if one is None else one for one in (self.inputs, self.receipts)]
        if kept[0] > kept[1]:
            raise ValueError("expected receipts to be kept at least as long as inputs")


class Deleted(msgspec.Struct, frozen=True):
    """How many rows were deleted; ``more`` says that a step was full and the next one has work."""

    inputs: int
    commands: int
    receipts: int
    runs: int
    dead_letters: int

    @property
    def more(self) -> bool:
        """Whether it is worth while to go on at once."""
        counts: tuple[int, ...] = msgspec.structs.astuple(self)
        return max(counts) >= STEP


@dataclass(frozen=True, slots=True)
class _Aged:
    """A kind of row, and when it is old enough to go."""

    table: Table
    at: Column[Any]
    before: object | None
    over: tuple[ColumnElement[bool], ...] = ()
    holder: tuple[ColumnElement[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletes by windows."""

    database: Database
    codec: Codec

    async def step(self, windows: Windows, *, now: datetime) -> Deleted:
        """Delete up to ``STEP`` rows of each kind, in one short transaction for each kind."""
        kinds = {
            "inputs": self._inputs(windows.inputs, now),
            "commands": _Aged(commands, commands.c.at, self._before(windows.inputs, now)),
            "receipts": _Aged(
                receipts,
                receipts.c.committed_at,
                self._before(windows.receipts, now),
                (_is_not_current(receipts),),
            ),
            "runs": _Aged(
                runs, runs.c.ended_at, self._before(windows.receipts, now), (_is_not_current(runs),)
            ),
            "dead_letters": self._letters(windows.dead_letters, now),
        }
        return Deleted(**{name: await self._delete(kind) for name, kind in kinds.items()})

    def _inputs(self, window: timedelta | None, now: datetime) -> _Aged:
        return _Aged(
            inputs,
            inputs.c.updated_at,
            self._before(window, now),
            (not_(is_active),),
            (inputs.c.runtime_id, inputs.c.input_id),
        )

    def _letters(self, window: timedelta | None, now: datetime) -> _Aged:
        settled = [DeadLetterStatus.DISCARDED.value, DeadLetterStatus.CLOSED.value]
        letters = dead_letters.c
        return _Aged(
            dead_letters,
            letters.last_at,
            self._before(window, now),
            (letters.status.in_(settled),),
            (func.coalesce(letters.runtime_id, ""), letters.id),
        )

    def _before(self, window: timedelta | None, now: datetime) -> object | None:
        return None if window is None else self.codec.moment(now - window)

    async def _delete(self, kind: _Aged) -> int:
        """Delete the oldest rows of a kind, and what they held."""
        if kind.before is None:
            return 0
        key = list(kind.table.primary_key.columns)
        old = select(*key).where(kind.at < kind.before, *kind.over).order_by(kind.at).limit(STEP)
        claimed = self.database.flavour.claiming(old)
        delete = kind.table.delete().where(tuple_(*key).in_(claimed))
        async with self.database.writing() as connection:
            gone = (await connection.execute(delete.returning(*(kind.holder or key)))).all()
            if gone and kind.holder:
                await connection.execute(self._release(gone))
        return len(gone)

    def _release(self, holders: Sequence[Sequence[Any]]) -> Delete:
        """Forget the blobs that deleted rows held."""
        held = (blob_references.c.runtime_id, blob_references.c.holder_id)
        pairs = [(row[0], row[1]) for row in holders]
        return blob_references.delete().where(
            tuple_(*held).in_(self.database.flavour.pairs(held, pairs))
        )


def _is_not_current(table: Table) -> ColumnElement[bool]:
    """What belongs to a run that its runtime still names is not over, however old it is."""
    current = select(runtimes.c.current_run_id).where(
        runtimes.c.runtime_id == table.c.runtime_id, runtimes.c.current_run_id == table.c.run_id
    )
    return ~current.exists()
