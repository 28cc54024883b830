"""Evidence: what the database holds after a campaign, read with plain SQL.

Nothing here, nor in the checker, knows the worker's code: only its tables, as an operator would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from tests.chaos.audit import plain


class Step(msgspec.Struct, frozen=True, rename={"source": "from", "target": "to"}):
    """One transition in an input's history."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class InputRow:
    """An input as it is stored; ``digest`` is SHA-256 of its payload, hex."""

    runtime_id: str
    id: str
    sequence: int
    state: str
    lane: str | None
    key: str | None
    run_id: str | None
    boundary: int | None
    outcome: str | None
    history: tuple[Step, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt, with the runtime's epoch at the moment of its commit."""

    runtime_id: str
    run_id: str
    sequence: int
    ids: tuple[str, ...]
    epoch: int
    epoch_then: int | None


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter; ``digest`` is SHA-256 of its body, hex."""

    runtime_id: str | None
    message_id: str | None
    type: str | None
    reason: str
    detail: str
    digest: str


@dataclass(frozen=True, slots=True)
class Write:
    """One change of one row, as the database logged it."""

    position: int
    at: datetime
    writer: str
    owner: str | None
    runtime_id: str | None
    what: str
    change: str
    subject: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checker looks at, but the publishers' record."""

    inputs: list[InputRow]
    receipts: list[ReceiptRow]
    """In the order in which they were committed."""
    letters: list[LetterRow]
    commands: list[tuple[str, str]]
    snapshots: dict[str, str]
    writes: list[Write]
    outbox: int


async def gathered(url: str) -> Evidence:
    """Read all of it, in one moment of the database."""
    connection = await asyncpg.connect(plain(url))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return Evidence(
                inputs=[_input(row) for row in await connection.fetch(_INPUTS)],
                receipts=[_receipt(row) for row in await connection.fetch(_RECEIPTS)],
                letters=[_letter(row) for row in await connection.fetch(_LETTERS)],
                commands=[tuple(row) for row in await connection.fetch(_COMMANDS)],
                snapshots={row[0]: row[1].decode() for row in await connection.fetch(_SNAPSHOTS)},
                writes=[Write(*row) for row in await connection.fetch(_WRITES)],
                outbox=await connection.fetchval("SELECT count(*) FROM outbox"),
            )
    finally:
        await connection.close()


async def is_quiet(url: str) -> bool:
    """Tell cheaply whether every input has ended and everything was published."""
    connection = await asyncpg.connect(plain(url))
    try:
        return bool(await connection.fetchval(_QUIET))
    finally:
        await connection.close()


_QUIET = """
SELECT NOT EXISTS (SELECT FROM outbox) AND NOT EXISTS (
    SELECT FROM inputs WHERE state NOT IN ('consumed', 'superseded', 'coalesced', 'abandoned')
)
"""
_INPUTS = """
SELECT runtime_id, input_id::text, sequence, state, lane, idempotency_key, last_run_id::text,
       last_boundary_sequence, outcome, history, payload
FROM inputs ORDER BY runtime_id, sequence
"""
_RECEIPTS = """
SELECT receipts.runtime_id, run_id::text, sequence, contributing_input_ids, receipts.epoch,
       audit.epoch
FROM receipts LEFT JOIN audit ON audit.what = 'receipts' AND audit.change = 'INSERT'
    AND audit.runtime_id = receipts.runtime_id AND audit.subject = run_id || ' ' || sequence
ORDER BY audit.position
"""
_LETTERS = "SELECT runtime_id, message_id, type, reason, detail, body FROM dead_letters"
_COMMANDS = "SELECT runtime_id, command_id::text FROM commands"
_SNAPSHOTS = "SELECT runtime_id, data FROM snapshots WHERE data IS NOT NULL"
_WRITES = """
SELECT position, at, writer, owner, runtime_id, what, change, subject, before, after
FROM audit ORDER BY position
"""

_history = msgspec.json.Decoder(tuple[Step, ...])
_ids = msgspec.json.Decoder(tuple[str, ...])


def _input(row: Any) -> InputRow:  # noqa: ANN401 - asyncpg's record
    columns: tuple[Any, ...] = row[:-2]
    digest = hashlib.sha256(row["payload"] or b"").hexdigest()
    return InputRow(*(*columns, _history.decode(row["history"]), digest))


def _receipt(row: Any) -> ReceiptRow:  # noqa: ANN401 - asyncpg's record
    runtime_id, run_id, sequence, ids, epoch, then = row
    return ReceiptRow(runtime_id, run_id, sequence, _ids.decode(ids), epoch, then)


def _letter(row: Any) -> LetterRow:  # noqa: ANN401 - asyncpg's record
    columns: tuple[Any, ...] = row[:-1]
    return LetterRow(*(*columns, hashlib.sha256(row["body"]).hexdigest()))
