"""Dedupe: what the store knows of the ids that a batch of messages names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Column, ColumnElement, Table, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import CommandId, DeadLetterId, InputId, RunId, RuntimeId
from schemas.lifecycle import InputState, RunState
from schemas.outcomes import EXHAUSTED
from schemas.records import InputRecord, Known, KnownInput, Redriven
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database, named
from store.ports import Lookup
from store.tables import commands, dead_letters, inputs, runs

log = structlog.get_logger()
_T = TypeVar("_T")

_KNOWN: Final = (
    inputs.c.runtime_id,
    inputs.c.input_id,
    inputs.c.state,
    inputs.c.payload_digest,
    inputs.c.outcome,
)
_WHOLE: Final = [column for column in inputs.c if column.name != "payload"]
_LETTER: Final = [
    dead_letters.c[name]
    for name in ("id", "runtime_id", "message_id", "redrive_count", "body_digest")
]


@dataclass(slots=True)
class _Findings:
    """What was found of one runtime."""

    inputs: dict[InputId, KnownInput] = field(default_factory=dict)
    keys: dict[str, KnownInput] = field(default_factory=dict)
    runs: dict[RunId, RunState] = field(default_factory=dict)
    commands: dict[CommandId, dict[str, Any]] = field(default_factory=dict)
    redriven: dict[DeadLetterId, Redriven] = field(default_factory=dict)
    exhausted: dict[InputId, InputRecord] = field(default_factory=dict)


_Found = defaultdict[RuntimeId, _Findings]


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Looks ids up: one query for each kind of id that is asked for."""

    database: Database
    codec: Codec

    async def known(self, lookups: Sequence[Lookup]) -> list[Known]:
        """Tell what is known of each lookup's ids, in order."""
        found: _Found = defaultdict(_Findings)
        async with self.database.reading() as connection:
            await self._inputs(connection, lookups, found)
            await self._keys(connection, lookups, found)
            await self._runs(connection, lookups, found)
            await self._commands(connection, lookups, found)
            await self._redriven(connection, lookups, found)
            await self._exhausted(connection, lookups, found)
        return [_known(found[lookup.runtime_id]) for lookup in lookups]

    async def _inputs(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = self._ids(lookups, lambda lookup: lookup.inputs)
        for row in await self._rows(connection, inputs, inputs.c.input_id, asked, _KNOWN):
            for known in _readable(codec.read_known, row):
                found[row["runtime_id"]].inputs[known.input_id] = known

    async def _keys(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = [(lookup.runtime_id, key) for lookup in lookups for key in lookup.keys]
        column = inputs.c.idempotency_key
        for row in await self._rows(connection, inputs, column, asked, (*_KNOWN, column)):
            for known in _readable(codec.read_known, row):
                found[row["runtime_id"]].keys[row["idempotency_key"]] = known

    async def _runs(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = self._ids(lookups, lambda lookup: lookup.runs)
        columns = (runs.c.runtime_id, runs.c.run_id, runs.c.state)
        for row in await self._rows(connection, runs, runs.c.run_id, asked, columns):
            for state in _readable(lambda values: RunState(values["state"]), row):
                found[row["runtime_id"]].runs[codec.read_id(row["run_id"])] = state

    async def _commands(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = self._ids(lookups, lambda lookup: lookup.commands)
        columns = (commands.c.runtime_id, commands.c.command_id, commands.c.outcome)
        for row in await self._rows(connection, commands, commands.c.command_id, asked, columns):
            for outcome in _readable(lambda values: codec.read_object(values["outcome"]), row):
                found[row["runtime_id"]].commands[codec.read_id(row["command_id"])] = outcome

    async def _redriven(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = self._ids(lookups, lambda lookup: lookup.redriven)
        columns = (*_LETTER, dead_letters.c.status)
        for row in await self._rows(connection, dead_letters, dead_letters.c.id, asked, columns):
            if row["status"] == DeadLetterStatus.REDRIVEN.value:
                letter = Redriven(row["message_id"], row["redrive_count"], row["body_digest"])
                found[row["runtime_id"]].redriven[codec.read_id(row["id"])] = letter

    async def _exhausted(
        self, connection: AsyncConnection, lookups: Sequence[Lookup], found: _Found
    ) -> None:
        asked = self._ids(lookups, lambda lookup: lookup.exhausted)
        for row in await self._rows(connection, inputs, inputs.c.input_id, asked, _WHOLE):
            if row["state"] != InputState.ABANDONED.value:
                continue
            for record in _readable(codec.read_input, row):
                if record.outcome == EXHAUSTED:
                    found[row["runtime_id"]].exhausted[record.input_id] = record

    def _ids(
        self, lookups: Sequence[Lookup], ids: Callable[[Lookup], Iterable[UUID]]
    ) -> list[tuple[object, object]]:
        uuid = self.codec.uuid
        return [(lookup.runtime_id, uuid(one)) for lookup in lookups for one in ids(lookup)]

    async def _rows(
        self,
        connection: AsyncConnection,
        table: Table,
        column: Column[Any],
        asked: Sequence[tuple[object, object]],
        wanted: Sequence[ColumnElement[Any]],
    ) -> Sequence[dict[str, Any]]:
        if not asked:
            return ()
        key = (table.c.runtime_id, column)
        query = select(*wanted).where(tuple_(*key).in_(self.database.flavour.pairs(key, asked)))
        return named(await connection.execute(query))


def _known(found: _Findings) -> Known:
    return Known(
        found.inputs, found.keys, found.runs, found.commands, found.redriven, found.exhausted
    )


def _readable(read: Callable[[dict[str, Any]], _T], row: dict[str, Any]) -> tuple[_T, ...]:
    """Read a row; none if it is damaged.

    It then counts as not known, and the constraint that stands behind the lookup refuses the one
    message that names it: the lookups of other runtimes must not fail for it.
    """
    try:
        return (read(row),)
    except READ_ERRORS as error:
        log.warning("store: damaged row", runtime_id=row["runtime_id"], why=codec.fault(error))
        return ()
