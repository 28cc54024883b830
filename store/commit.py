"""The one transaction: many runtimes' changes at once, each behind its fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from store.burial import bury
from store.codec import Codec
from store.engine import Database
from store.errors import RefusedError
from store.players import on_sqlalchemy
from store.ports import Commit, CommitResult
from store.script import Ask, Script, Tell
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
        if not any(draft.letters for draft in drafts):
            live = await self.database.write(self._changes(drafts))
        else:
            async with self.database.writing() as connection:
                live = await on_sqlalchemy(connection, self._changes(drafts))
                letters = [letter for draft in live for letter in draft.letters]
                await bury(connection, self.database.flavour, letters)
        return {draft.place for draft in drafts} - {draft.place for draft in live}

    def _changes(self, drafts: Sequence[_Draft]) -> Script[list[_Draft]]:
        """Lock the runtimes and read their epochs, then write what is live, and tell what is.

        Each statement goes over the rows of all parts.
        """
        ids = {draft.part.runtime_id for draft in drafts} - {None}
        epochs: dict[str, int] = {}
        if ids:
            found = yield self._epochs(sorted(ids, key=str))
            epochs = self.database.flavour.unfolded(found)
        live = [draft for draft in drafts if _is_live(draft.part, epochs)]
        for write in Write:
            rows = [row for draft in live for row in draft.rows.get(write, ())]
            if rows:
                yield Tell(self.statements.text(write), rows)
        return live

    def _epochs(self, runtime_ids: Sequence[object]) -> Ask:
        """Lock in one order for everybody, so that no two commits wait for each other."""
        arguments = self.database.flavour.among_arguments(runtime_ids)
        return Ask(self.statements.fence, arguments)


def _is_live(part: Commit, epochs: Mapping[str, int]) -> bool:
    return part.runtime_id is None or epochs.get(part.runtime_id) == part.epoch


def _tell(part: Commit, why: str) -> None:
    log.warning("store: part of a commit refused", runtime_id=part.runtime_id, why=why)
