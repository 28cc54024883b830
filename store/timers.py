"""Timers: what is due, claimed by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import bindparam, select

from schemas.ids import RuntimeId
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.ports import DueTimer
from store.tables import timers

log = structlog.get_logger()

CLAIM: Final = timedelta(minutes=1)
"""How long whoever claimed a timer has until the next may: its message is idempotent."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The timers of a database."""

    database: Database
    codec: Codec

    async def fire(self, *, now: datetime, limit: int) -> list[DueTimer]:
        """Claim due timers: push each back by a minute, so that one worker acts."""
        due = (
            select(timers)
            .where(timers.c.fires_at <= self.codec.moment(now))
            .order_by(timers.c.fires_at)
            .limit(limit)
        )
        async with self.database.writing() as connection:
            rows = named(await connection.execute(self.database.flavour.claiming(due)))
            if rows:
                await connection.execute(_PUSH_BACK, self._pushed_back(rows, now))
        return [timer for row in rows for timer in _read(row)]

    def _pushed_back(
        self, rows: Sequence[dict[str, Any]], now: datetime
    ) -> list[dict[str, object]]:
        later = self.codec.moment(now + CLAIM)
        return [
            {"of_runtime": row["runtime_id"], "of_kind": row["kind"], "later": later}
            for row in rows
        ]


_PUSH_BACK: Final = (
    timers.update()
    .where(
        timers.c.runtime_id == bindparam("of_runtime"),
        timers.c.kind == bindparam("of_kind"),
    )
    .values(fires_at=bindparam("later", type_=timers.c.fires_at.type))
)


def _read(values: dict[str, Any]) -> tuple[DueTimer, ...]:
    """Read a timer; a damaged one must not stop the others, and comes back every minute."""
    try:
        return (DueTimer(RuntimeId(values["runtime_id"]), codec.read_timer(values)),)
    except READ_ERRORS as error:
        log.warning("store: damaged timer", runtime_id=values["runtime_id"], why=codec.fault(error))
        return ()
