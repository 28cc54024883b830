"""Contents: what activation leaves in the store until a run needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select, tuple_

from schemas.ids import InputId, RuntimeId
from schemas.records import SnapshotRecord
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database
from store.errors import DamagedRowError, StoreError
from store.flavours import Flavour
from store.ports import Contents, Wanted
from store.script import Ask, Rows, Script
from store.tables import inputs, snapshots

_Payloads = defaultdict[RuntimeId, dict[InputId, bytes]]


class ContentReader:
    """Reads payloads and snapshots of many runtimes at once; its statements are compiled once."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec
        self._payloads = database.text(_payloads(database.flavour))
        self._snapshots = database.text(_snapshots(database.flavour))

    async def read(self, wanted: Sequence[Wanted]) -> list[Contents | StoreError]:
        """Read what is wanted of each runtime, in order; see ``RuntimeStore``."""
        payloads, rows = await self._database.look(self._answers(wanted))
        found: _Payloads = defaultdict(dict)
        for runtime_id, input_id, payload in payloads:
            found[runtime_id][codec.read_id(input_id)] = payload
        read = {row[0]: _snapshot(row) for row in rows}
        return [_contents(one, found, read) for one in wanted]

    def _answers(self, wanted: Sequence[Wanted]) -> Script[tuple[Rows, Rows]]:
        flavour = self._database.flavour
        pairs = [
            (one.runtime_id, self._codec.uuid(input_id))
            for one in wanted
            for input_id in one.inputs
        ]
        runtimes = [one.runtime_id for one in wanted if one.snapshot]
        payloads = (yield Ask(self._payloads, flavour.pairs_arguments(pairs))) if pairs else []
        found = (yield Ask(self._snapshots, flavour.among_arguments(runtimes))) if runtimes else []
        return payloads, found


def _contents(
    wanted: Wanted, payloads: _Payloads, snapshots: dict[RuntimeId, SnapshotRecord | StoreError]
) -> Contents | StoreError:
    of_runtime = payloads[wanted.runtime_id]
    mine = {one: of_runtime[one] for one in wanted.inputs if one in of_runtime}
    snapshot = snapshots.get(wanted.runtime_id) if wanted.snapshot else None
    return snapshot if isinstance(snapshot, StoreError) else Contents(mine, snapshot)


def _snapshot(row: tuple[Any, ...]) -> SnapshotRecord | StoreError:
    try:
        return codec.read_snapshot(dict(zip(_SNAPSHOT, row, strict=True)))
    except READ_ERRORS as error:
        return DamagedRowError("snapshots", str(row[0]), codec.fault(error))


_SNAPSHOT = tuple(str(column.name) for column in snapshots.c)


def _payloads(flavour: Flavour) -> Select[Any]:
    key = (inputs.c.runtime_id, inputs.c.input_id)
    return select(*key, inputs.c.payload).where(
        tuple_(*key).in_(flavour.pairs(key, ())), inputs.c.payload.is_not(None)
    )


def _snapshots(flavour: Flavour) -> Select[Any]:
    return select(snapshots).where(flavour.among(snapshots.c.runtime_id, ()))
