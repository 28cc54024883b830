"""Overview: how much there is to do, and who has waited longest for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Select, case, func, select

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import RuntimeId
from schemas.lifecycle import RuntimeState
from store.codec import Codec
from store.engine import Database, named
from store.queries import WAITING, RuntimeFilter, RuntimeSummary, runtimes_meant
from store.tables import dead_letters, inputs, is_active, outbox, runtimes


class Overview(msgspec.Struct, frozen=True):
    """What a store has to do. The moments say since when; None if there is nothing."""

    runtimes: dict[str, int]
    waiting: int
    waiting_since: datetime | None
    in_run: int
    open_letters: int
    outbox: int
    outbox_since: datetime | None

    @property
    def runtime_count(self) -> int:
        """All runtimes, in whatever state."""
        return sum(self.runtimes.values())


class Busy(msgspec.Struct, frozen=True):
    """A runtime with inputs that have not ended; ``waiting_since`` is None if all are in a run."""

    summary: RuntimeSummary
    waiting_since: datetime | None


_IS_WAITING: Final = inputs.c.state.in_(sorted(state.value for state in WAITING))
_WAITING_SINCE: Final = func.min(case((_IS_WAITING, inputs.c.created_at)))
_WAITING: Final = func.count(case((_IS_WAITING, 1)))


@dataclass(frozen=True, slots=True)
class Overviews:
    """Reads that cost nothing to the workers."""

    database: Database
    codec: Codec

    async def overview(self) -> Overview:
        """Count what is to be done."""
        is_open = dead_letters.c.status == DeadLetterStatus.OPEN.value
        states = select(runtimes.c.state, func.count()).group_by(runtimes.c.state)
        work = select(_WAITING, _WAITING_SINCE, func.count()).where(is_active)
        async with self.database.reading() as connection:
            by_state = (await connection.execute(states)).all()
            waiting, since, active = (await connection.execute(work)).one()
            opened = select(func.count()).select_from(dead_letters).where(is_open)
            letters = (await connection.execute(opened)).scalar_one()
            unsent = select(func.count(), func.min(outbox.c.created_at)).select_from(outbox)
            sending, oldest = (await connection.execute(unsent)).one()
        found = {
            "runtimes": {str(state): int(count) for state, count in by_state},
            "waiting": waiting,
            "waiting_since": since,
            "in_run": active - waiting,
            "open_letters": letters,
            "outbox": sending,
            "outbox_since": oldest,
        }
        return msgspec.convert(found, Overview, strict=False)

    async def waiting_since(self, runtime_ids: list[RuntimeId]) -> dict[RuntimeId, datetime]:
        """Tell since when the oldest waiting input of each runtime has waited."""
        query = (
            select(inputs.c.runtime_id, func.min(inputs.c.created_at))
            .where(
                self.database.flavour.among(inputs.c.runtime_id, runtime_ids),
                is_active,
                _IS_WAITING,
            )
            .group_by(inputs.c.runtime_id)
        )
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return msgspec.convert(dict(map(tuple, rows)), dict[RuntimeId, datetime], strict=False)

    async def busiest(self, wanted: RuntimeFilter, *, limit: int) -> tuple[Busy, ...]:
        """List runtimes that have something to do, the longest wait first."""
        query = _busy().where(*runtimes_meant(wanted)).limit(limit)
        async with self.database.reading() as connection:
            rows = named(await connection.execute(query))
        return tuple(_read(row) for row in rows if row["state"] in set(RuntimeState))


def _busy() -> Select[Any]:
    """Count in one pass over the active inputs, which have an index of their own."""
    work = (
        select(
            inputs.c.runtime_id,
            _WAITING.label("waiting"),
            (func.count() - _WAITING).label("in_run"),
            _WAITING_SINCE.label("waiting_since"),
        )
        .where(is_active)
        .group_by(inputs.c.runtime_id)
        .subquery()
    )
    since = work.c.waiting_since
    return (
        select(runtimes, work.c.waiting, work.c.in_run, since)
        .join(work, work.c.runtime_id == runtimes.c.runtime_id)
        .order_by(since.is_(None), since, runtimes.c.runtime_id)
    )


def _read(row: dict[str, Any]) -> Busy:
    summary = msgspec.convert(row, RuntimeSummary, strict=False)
    return msgspec.convert({"summary": summary, "waiting_since": row["waiting_since"]}, Busy)
