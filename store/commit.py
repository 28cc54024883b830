"""The one transaction: many runtimes' changes at once, each behind its fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from store.burial import bury
from store.codec import Codec
from store.engine import Database
from store.errors import RefusedError
from store.ports import Commit, CommitResult
from store.tables import runtimes
from store.writes import Rows, Statements, Write, rows_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A part with its rows, made before the transaction begins so that locks are held briefly."""

    place: int
    part: Commit
    rows: Rows
    letters: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """Commits the parts of many runtimes in one transaction."""

    database: Database
    codec: Codec
    statements: Statements

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        """Write what is not fenced; a part that the database refuses is found and left out.

        Raises:
            StoreUnavailableError: The database is away. Nothing is written, unless the connection
                died between the commit and its answer: then trying again finds the rows there and
                fails, and whoever tried must read what is stored.
        """
        results = [CommitResult.FAILED] * len(parts)
        drafts = [draft for place, part in enumerate(parts) for draft in self._drafted(place, part)]
        await self._settle(drafts, results)
        return results

    def _drafted(self, place: int, part: Commit) -> tuple[_Draft, ...]:
        try:
            letters = tuple(self.codec.letter(letter) for letter in part.dead_letters)
            return (_Draft(place, part, rows_of(part, self.codec), letters),)
        except (TypeError, ValueError, OverflowError) as error:
            _tell(part, f"a value has no JSON: {type(error).__name__}")
            return ()

    async def _settle(self, drafts: Sequence[_Draft], results: list[CommitResult]) -> None:
        """Commit some parts; if the database refuses, halve until the culprit stands alone."""
        if not drafts:
            return
        try:
            fenced = await self._written(drafts)
        except RefusedError as error:
            if len(drafts) == 1:
                _tell(drafts[0].part, str(error))
                return
            middle = len(drafts) // 2
            await self._settle(drafts[:middle], results)
            await self._settle(drafts[middle:], results)
        else:
            for draft in drafts:
                is_out = draft.place in fenced
                results[draft.place] = CommitResult.FENCED if is_out else CommitResult.COMMITTED

    async def _written(self, drafts: Sequence[_Draft]) -> set[int]:
        """Make one transaction; answers the places of the parts that were fenced."""
        async with self.database.writing() as connection:
            epochs = await self._epochs(connection, drafts)
            live = [draft for draft in drafts if _is_live(draft.part, epochs)]
            await self._write(connection, live)
            letters = [letter for draft in live for letter in draft.letters]
            await bury(connection, self.database.flavour, letters)
        return {draft.place for draft in drafts} - {draft.place for draft in live}

    async def _epochs(
        self, connection: AsyncConnection, drafts: Sequence[_Draft]
    ) -> dict[str, int]:
        """Lock the runtimes, in one order for everybody, and read their epochs."""
        ids = sorted(draft.part.runtime_id for draft in drafts if draft.part.runtime_id is not None)
        if not ids:
            return {}
        flavour = self.database.flavour
        query = (
            select(runtimes.c.runtime_id, runtimes.c.epoch)
            .where(flavour.among(runtimes.c.runtime_id, ids))
            .order_by(runtimes.c.runtime_id)
        )
        found = await connection.execute(flavour.locking(query))
        return {row.runtime_id: row.epoch for row in found}

    async def _write(self, connection: AsyncConnection, drafts: Sequence[_Draft]) -> None:
        """Execute each statement once, over the rows of all parts."""
        for write in Write:
            rows = [row for draft in drafts for row in draft.rows.get(write, ())]
            if rows:
                await connection.exec_driver_sql(self.statements.text(write), rows)


def _is_live(part: Commit, epochs: dict[str, int]) -> bool:
    return part.runtime_id is None or epochs.get(part.runtime_id) == part.epoch


def _tell(part: Commit, why: str) -> None:
    log.warning("store: part of a commit refused", runtime_id=part.runtime_id, why=why)
