"""Makes of records, for tests of stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from uuid_utils.compat import uuid7

from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.ids import RuntimeId
from schemas.inputs import Durability, InputKind
from schemas.lifecycle import InputState, Lane, RunState
from schemas.policy import (
    ApplyMode,
    ConsumePoint,
    DrainPolicy,
    InterruptPolicy,
    PolicyDecision,
    QueueMode,
    RoutingDisposition,
    WakeMode,
)
from schemas.records import (
    Changes,
    HistoryEntry,
    InputRecord,
    OutboxMessage,
    ReceiptRecord,
    RunRecord,
)
from schemas.runs import Boundary, Receipt
from store.open import open_store
from store.ports import Commit, RuntimeStore
from store.sql import SqlStore
from tests.support.migrated import migrated_file
from worker.sandbox import create_database, drop_database

NOW = datetime(2026, 11, 23, 8, 22, 47, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ALPHA = RuntimeId("alpha")
BETA = RuntimeId("beta")
FIFO = PolicyDecision(
    ApplyMode.STAGE_RUN_START,
    WakeMode.WAKE_IF_IDLE,
    QueueMode.FIFO,
    ConsumePoint.ON_RUN_COMPLETE,
    InterruptPolicy.NONE,
    DrainPolicy.QUEUE_NEXT_TURN,
    RoutingDisposition.QUEUE,
    record_transcript=True,
    emit_operator_content=True,
    policy_version=1,
)
replace = msgspec.structs.replace


def new_id() -> UUID:
    """Make an id."""
    return uuid7()


def an_input(sequence: int = 0, **changed: Any) -> InputRecord:  # noqa: ANN401
    """Make a queued prompt; name what is to be different."""
    record = InputRecord(
        input_id=new_id(),
        sequence=sequence,
        kind=InputKind.PROMPT,
        durability=Durability.DURABLE,
        state=InputState.QUEUED,
        lane=Lane.QUEUE,
        payload_digest="d" * 64,
        created_at=NOW,
        updated_at=NOW,
        policy=FIFO,
        history=(HistoryEntry(NOW, InputState.ACCEPTED, InputState.QUEUED, "queued"),),
    )
    return replace(record, **changed)


def a_run(*batch: InputRecord, **changed: Any) -> RunRecord:  # noqa: ANN401
    """Make a run that was requested over some inputs."""
    ids = tuple(record.input_id for record in batch)
    record = RunRecord(new_id(), RunState.REQUESTED, Boundary.RUN_START, ids, 1, NOW)
    return replace(record, **changed)


def a_receipt(run: RunRecord, sequence: int = 0, epoch: int = 1) -> ReceiptRecord:
    """Make the receipt of a run's boundary over its whole batch."""
    receipt = Receipt(run.run_id, Boundary.RUN_START, run.batch, 3, sequence, "e" * 64)
    return ReceiptRecord(receipt, epoch, NOW)


def a_message(runtime_id: RuntimeId | None = ALPHA, **changed: Any) -> OutboxMessage:  # noqa: ANN401
    """Make an outbox row."""
    message = OutboxMessage(
        id=new_id(),
        runtime_id=runtime_id,
        exchange="meerkat.runs",
        routing_key="default",
        properties={"message_id": str(new_id()), "headers": {"schema": 1}},
        body=b"\x00\xff{}",
        created_at=NOW,
    )
    return replace(message, **changed)


def a_letter(runtime_id: RuntimeId | None = ALPHA, **changed: Any) -> DeadLetter:  # noqa: ANN401
    """Make a dead letter of a message that is its own."""
    letter = DeadLetter(
        id=new_id(),
        runtime_id=runtime_id,
        source_queue="meerkat.inbox.alpha",
        message_id=str(new_id()),
        type="input",
        properties={"content_type": "application/json"},
        body=b'{"broken": \x00\xff',
        reason=DeadLetterReason.MALFORMED,
        detail="$.header.id: expected uuid",
        at=NOW,
    )
    return replace(letter, **changed)


def a_part(runtime_id: RuntimeId, epoch: int, *inserted: InputRecord, **more: Any) -> Commit:  # noqa: ANN401
    """Make a part that inserts inputs, each with a payload, and what else is named."""
    payloads = {record.input_id: b'{"n":%d}' % record.sequence for record in inserted}
    changes = Changes(inserted=inserted, **more)
    return Commit(runtime_id, epoch, changes, payloads=payloads)


async def taken(store: RuntimeStore, runtime_id: RuntimeId = ALPHA) -> int:
    """Activate a runtime; answers its epoch."""
    return (await store.activate(runtime_id, owner="worker-1", now=NOW)).runtime.epoch


DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))
"""Parameters of a fixture that makes each database in turn."""


@asynccontextmanager
async def an_empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Make an empty database of the kind that the fixture's parameter names; answers its URL."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
        return
    server: str = request.getfixturevalue("postgres_server_url")
    url = await create_database(server)
    yield url
    await drop_database(server, url)


@asynccontextmanager
async def an_empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Make an empty store of the kind that the fixture's parameter names."""
    async with a_migrated_database(request, tmp_path) as url:
        opened = await open_store(url)
        try:
            yield opened
        finally:
            await opened.close()


@asynccontextmanager
async def a_migrated_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Make a database with the schema of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        yield await asyncio.to_thread(migrated_file, tmp_path / "store.db")
        return
    server: str = request.getfixturevalue("postgres_server_url")
    template: str = request.getfixturevalue("postgres_template_url")
    url = await create_database(server, like=template)
    yield url
    await drop_database(server, url)
