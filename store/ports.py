"""The store as the worker sees it: two protocols that every implementation proves by one suite."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from schemas.content import Blob
from schemas.dead_letters import DeadLetter
from schemas.ids import CommandId, DeadLetterId, InputId, RunId, RuntimeId
from schemas.records import (
    Changes,
    Known,
    OutboxMessage,
    SnapshotRecord,
    StoredRuntime,
    Timer,
)
from store.errors import StoreError


class Commit(msgspec.Struct, frozen=True):
    """One runtime's part of a group commit.

    ``runtime_id`` is None for what belongs to no runtime (a dead letter of a message that names
    none); such a part is not fenced. ``payloads`` holds the JSON of the inserted inputs and, where
    an updated input gets another payload, that. ``published`` names outbox rows that the broker has
    confirmed: they are deleted. ``quarantined`` names corrupt inputs by their ids as stored: they
    are deleted as their dead letters are written. ``closed`` names redriven dead letters whose
    message this commit settles.
    """

    runtime_id: RuntimeId | None
    epoch: int
    changes: Changes = Changes()
    payloads: Mapping[InputId, bytes] = {}
    outbox: tuple[OutboxMessage, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    published: tuple[UUID, ...] = ()
    quarantined: tuple[str, ...] = ()
    closed: tuple[DeadLetterId, ...] = ()


class CommitResult(enum.Enum):
    """What became of one runtime's part of a group commit."""

    COMMITTED = "committed"
    FENCED = "fenced"
    FAILED = "failed"


class Lookup(msgspec.Struct, frozen=True):
    """Which ids of one runtime a batch of messages names.

    ``redriven`` names the dead letters that messages say they come from, ``exhausted`` the inputs
    that those would bring back.
    """

    runtime_id: RuntimeId
    inputs: tuple[InputId, ...] = ()
    keys: tuple[str, ...] = ()
    runs: tuple[RunId, ...] = ()
    commands: tuple[CommandId, ...] = ()
    redriven: tuple[DeadLetterId, ...] = ()
    exhausted: tuple[InputId, ...] = ()


class Wanted(msgspec.Struct, frozen=True):
    """What is to be read of one runtime: payloads of inputs, and the latest session snapshot."""

    runtime_id: RuntimeId
    inputs: tuple[InputId, ...] = ()
    snapshot: bool = False


class Contents(msgspec.Struct, frozen=True):
    """What was read: payloads (JSON) of the inputs that are there, and the snapshot if any."""

    payloads: Mapping[InputId, bytes] = {}
    snapshot: SnapshotRecord | None = None


class DueTimer(msgspec.Struct, frozen=True):
    """A timer whose time has come."""

    runtime_id: RuntimeId
    timer: Timer


class WorkerPresence(msgspec.Struct, frozen=True):
    """A worker as it says of itself: when it last did, and the queues it consumes."""

    worker_id: str
    host: str
    started_at: datetime
    heartbeat_at: datetime
    queues: tuple[str, ...] = ()


class RuntimeStore(Protocol):
    """Durable state of runtimes.

    Every method raises ``StoreUnavailableError`` when it cannot be reached; none leaves anything
    half-written.
    """

    async def activate(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """Take a runtime: raise its epoch by one, name the owner, and read its active state.

        A runtime that is not there is created (idle, epoch 1). Reads cost in active inputs only.
        """
        ...

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """Read what ``activate`` reads, taking nothing; None if there is no such runtime."""
        ...

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        """Commit many runtimes' changes in one transaction, answering each part in order.

        A part whose epoch is not the stored one is fenced: none of it is written, the others are.
        A part that a constraint refuses is failed: it alone. At most one part a runtime.
        """
        ...

    async def known(self, lookups: Sequence[Lookup]) -> list[Known]:
        """Tell what is known of each lookup's ids, in order."""
        ...

    async def contents(self, wanted: Sequence[Wanted]) -> list[Contents | StoreError]:
        """Read payloads and snapshots of runtimes, in order; one that is damaged fails alone."""
        ...

    async def register(self, runtime_ids: Sequence[RuntimeId], *, now: datetime) -> list[RuntimeId]:
        """Record runtimes that are new (idle, epoch 0); answer those."""
        ...

    async def runtime_ids(self) -> list[RuntimeId]:
        """Name every runtime that is not destroyed."""
        ...

    async def unpublished(self, *, before: datetime, limit: int) -> list[OutboxMessage]:
        """Read outbox rows created before a moment, oldest first, in order per runtime."""
        ...

    async def fire_timers(self, *, now: datetime, limit: int) -> list[DueTimer]:
        """Claim due timers: push each back by a minute and answer it, so that one worker acts.

        The message that a timer causes is idempotent; the runtime's commit clears the timer.
        """
        ...

    async def heartbeat(self, presence: WorkerPresence) -> None:
        """Say that a worker is alive and what it consumes."""
        ...

    async def workers(self) -> list[WorkerPresence]:
        """List workers as they last said of themselves."""
        ...

    async def forget_worker(self, worker_id: str) -> None:
        """Take a worker off the list."""
        ...


class BlobStore(Protocol):
    """Bytes by the digest of their content.

    Every method raises ``BlobStoreUnavailableError`` when the store cannot be reached.
    """

    async def prepare(self) -> None:
        """Make what is missing (directories, a bucket) and prove that a blob can be written."""
        ...

    async def put(self, blob: Blob) -> None:
        """Store a blob durably; storing it again changes only the moment at which it was stored.

        Raises:
            ValueError: The id is not the digest of the content.
        """
        ...

    async def get(self, blob_id: str) -> Blob:
        """Read a blob; raise ``BlobMissingError`` if it is not there or its bytes are damaged."""
        ...

    async def exists(self, blob_id: str) -> bool:
        """Tell whether a blob is there."""
        ...

    async def delete(self, blob_id: str, *, stored_before: datetime | None = None) -> None:
        """Delete a blob, but not one stored (again) at or after a moment.

        Deleting one that is not there changes nothing.
        """
        ...

    def iterate(self) -> AsyncIterator[tuple[str, datetime]]:
        """Go through ids and the moments at which they were stored."""
        ...

    async def close(self) -> None:
        """Let go of threads and connections. The store is not used afterwards."""
        ...
