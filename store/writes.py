"""Writes: every statement of a commit, and the rows that one runtime's part gives each of them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sqlalchemy import Text, bindparam, cast, delete, literal_column, select
from sqlalchemy.schema import Column, Table
from sqlalchemy.sql.dml import UpdateBase

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import RuntimeId
from schemas.records import Changes
from store import tables
from store.codec import Codec, Row, blobs_in
from store.engine import Database
from store.flavours import Flavour
from store.ports import Commit

_T = TypeVar("_T")


class Write(enum.Enum):
    """The statements of a commit, in the order in which they are executed."""

    QUARANTINE = enum.auto()
    INSERT_INPUTS = enum.auto()
    UPDATE_INPUTS = enum.auto()
    REPLACE_PAYLOADS = enum.auto()
    INSERT_REFERENCES = enum.auto()
    UPSERT_RUNS = enum.auto()
    UPDATE_RUNTIMES = enum.auto()
    INSERT_RECEIPTS = enum.auto()
    UPSERT_SNAPSHOTS = enum.auto()
    INSERT_COMMANDS = enum.auto()
    UPSERT_TIMERS = enum.auto()
    CLEAR_TIMERS = enum.auto()
    CLOSE_LETTERS = enum.auto()
    INSERT_OUTBOX = enum.auto()
    DELETE_OUTBOX = enum.auto()


Rows = dict[Write, list[Row]]


# --- what a part writes --------------------------------------------------------------------------


def rows_of(part: Commit, codec: Codec) -> Rows:
    """Write a part's rows.

    Raises:
        ValueError, TypeError: A value has no JSON.
    """
    rows: Rows = {}
    if part.runtime_id is not None:
        rows.update(_input_rows(part.runtime_id, part, codec))
        rows.update(_run_rows(part.runtime_id, part.changes, codec))
    rows[Write.INSERT_REFERENCES] = _reference_rows(part, codec)
    rows[Write.CLOSE_LETTERS] = [(codec.uuid(letter_id),) for letter_id in part.closed]
    rows[Write.INSERT_OUTBOX] = [codec.outgoing(message) for message in part.outbox]
    rows[Write.DELETE_OUTBOX] = [(codec.uuid(row_id),) for row_id in part.published]
    return rows


def _input_rows(runtime_id: RuntimeId, part: Commit, codec: Codec) -> Rows:
    changes, payloads = part.changes, part.payloads
    updated = changes.updated
    return {
        Write.QUARANTINE: [(runtime_id, raw_id) for raw_id in part.quarantined],
        Write.INSERT_INPUTS: [
            codec.inserted(runtime_id, record, payloads.get(record.input_id))
            for record in changes.inserted
        ],
        Write.UPDATE_INPUTS: [codec.updated(runtime_id, record) for record in updated],
        Write.REPLACE_PAYLOADS: [
            codec.replaced(runtime_id, record, payloads[record.input_id])
            for record in updated
            if record.input_id in payloads
        ],
    }


def _run_rows(runtime_id: RuntimeId, changes: Changes, codec: Codec) -> Rows:
    timers = changes.timers
    return {
        Write.UPSERT_RUNS: [codec.run(runtime_id, record) for record in changes.runs],
        Write.UPDATE_RUNTIMES: [codec.runtime(record) for record in _some(changes.runtime)],
        Write.INSERT_RECEIPTS: [codec.receipt(runtime_id, record) for record in changes.receipts],
        Write.UPSERT_SNAPSHOTS: [
            codec.snapshot(runtime_id, record) for record in _some(changes.snapshot)
        ],
        Write.INSERT_COMMANDS: [codec.command(runtime_id, record) for record in changes.commands],
        Write.UPSERT_TIMERS: [
            codec.timer(runtime_id, timer) for timer in timers.values() if timer is not None
        ],
        Write.CLEAR_TIMERS: [
            (runtime_id, kind.value) for kind, timer in timers.items() if timer is None
        ],
    }


def _reference_rows(part: Commit, codec: Codec) -> list[Row]:
    """Note the blobs that payloads need; nearly all need none."""
    return [
        (blob_id, part.runtime_id, codec.uuid(input_id))
        for input_id, payload in part.payloads.items()
        for blob_id in blobs_in(payload)
    ]


def _some(value: _T | None) -> tuple[_T, ...]:
    return () if value is None else (value,)


# --- their SQL -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Statements:
    """The text of the fence and of each write, compiled once.

    Rows go to the driver as tuples, past SQLAlchemy: its own way, through a dictionary a row, costs
    half as much again.
    """

    database: Database
    fence: str = field(init=False)
    _texts: dict[Write, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Compile the fence: it comes first in every commit."""
        runtimes, flavour = tables.runtimes.c, self.database.flavour
        epochs = (
            select(runtimes.runtime_id, runtimes.epoch)
            .where(flavour.among(runtimes.runtime_id, ()))
            .order_by(runtimes.runtime_id)
        )
        self.fence = self.database.text(flavour.folded(flavour.locking(epochs)))

    def text(self, write: Write) -> str:
        """Tell the SQL of a write."""
        known = self._texts.get(write)
        if known is None:
            statement, names = _STATEMENTS[write](self.database.flavour)
            known = self._texts[write] = self.database.text(statement, names)
        return known


_Statement = tuple[UpdateBase, tuple[str, ...]]
"""A statement, and the names of its parameters in the order in which rows have them."""


def _insert(table: Table) -> _Statement:
    return table.insert().inline(), tuple(table.c.keys())


def _insert_references(flavour: Flavour) -> _Statement:
    insert = flavour.insert(tables.blob_references).inline()
    return insert.on_conflict_do_nothing(), tuple(tables.blob_references.c.keys())


def _insert_outbox(flavour: Flavour) -> _Statement:
    """A row that is there already stays: a commit whose answer was lost may be made again."""
    names = tuple(name for name in tables.outbox.c.keys() if name != "position")  # noqa: SIM118
    insert = flavour.insert(tables.outbox).inline()
    return insert.on_conflict_do_nothing(index_elements=["id"]), names


def _update(table: Table, names: tuple[str, ...]) -> _Statement:
    keys = list(table.primary_key.columns)
    where = [column == bindparam(f"key_{column.name}", type_=column.type) for column in keys]
    values = {name: bindparam(name, type_=table.c[name].type) for name in names}
    statement = table.update().where(*where).values(values)
    return statement, (*names, *(f"key_{column.name}" for column in keys))


def _upsert(table: Table, flavour: Flavour) -> _Statement:
    insert = flavour.insert(table).inline()
    keys = [column.name for column in table.primary_key.columns]
    changed = {
        column.name: insert.excluded[column.name] for column in table.c if column.name not in keys
    }
    upsert = insert.on_conflict_do_update(index_elements=keys, set_=changed)
    return upsert, tuple(table.c.keys())


def _delete(*columns: Column[object]) -> _Statement:
    where = [column == bindparam(column.name, type_=column.type) for column in columns]
    return delete(columns[0].table).where(*where), tuple(column.name for column in columns)


def _quarantine(_flavour: Flavour) -> _Statement:
    """By the id as text: on SQLite a damaged row's id may be anything."""
    inputs = tables.inputs.c
    where = (
        inputs.runtime_id == bindparam("runtime_id"),
        tables.is_active,
        cast(inputs.input_id, Text) == bindparam("raw_id", type_=Text()),
    )
    return tables.inputs.delete().where(*where), ("runtime_id", "raw_id")


def _close_letters(_flavour: Flavour) -> _Statement:
    """One that has died again meanwhile, or is on its way anew, stays as it is."""
    letters = tables.dead_letters
    redriven, closed = DeadLetterStatus.REDRIVEN, DeadLetterStatus.CLOSED
    where = (
        letters.c.id == bindparam("letter_id", type_=letters.c.id.type),
        letters.c.status == literal_column(f"'{redriven}'"),
    )
    update = letters.update().where(*where).values(status=literal_column(f"'{closed}'"))
    return update, ("letter_id",)


_INPUT: Final = (
    "sequence",
    "state",
    "active",
    "lane",
    "payload_digest",
    "last_run_id",
    "last_boundary_sequence",
    "attempt_count",
    "recovery_count",
    "traceparent",
    "updated_at",
    "policy",
    "outcome",
    "reply",
    "history",
)
_PAYLOAD: Final = ("kind", "durability", "idempotency_key", "supersession_key", "payload")
_RUNTIME: Final = (
    "state",
    "resting_state",
    "current_run_id",
    "next_sequence",
    "woken",
    "silent_intents",
    "retry",
    "paused",
    "updated_at",
)
_STATEMENTS: Final[dict[Write, Callable[[Flavour], _Statement]]] = {
    Write.QUARANTINE: _quarantine,
    Write.INSERT_INPUTS: lambda _: _insert(tables.inputs),
    Write.UPDATE_INPUTS: lambda _: _update(tables.inputs, _INPUT),
    Write.REPLACE_PAYLOADS: lambda _: _update(tables.inputs, _PAYLOAD),
    Write.INSERT_REFERENCES: _insert_references,
    Write.UPSERT_RUNS: lambda flavour: _upsert(tables.runs, flavour),
    Write.UPDATE_RUNTIMES: lambda _: _update(tables.runtimes, _RUNTIME),
    Write.INSERT_RECEIPTS: lambda _: _insert(tables.receipts),
    Write.UPSERT_SNAPSHOTS: lambda flavour: _upsert(tables.snapshots, flavour),
    Write.INSERT_COMMANDS: lambda _: _insert(tables.commands),
    Write.UPSERT_TIMERS: lambda flavour: _upsert(tables.timers, flavour),
    Write.CLEAR_TIMERS: lambda _: _delete(tables.timers.c.runtime_id, tables.timers.c.kind),
    Write.CLOSE_LETTERS: _close_letters,
    Write.INSERT_OUTBOX: _insert_outbox,
    Write.DELETE_OUTBOX: lambda _: _delete(tables.outbox.c.id),
}
if _STATEMENTS.keys() != set(Write):
    raise AssertionError("a write without a statement")
