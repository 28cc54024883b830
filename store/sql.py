"""The store in a database: every port, on SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from schemas.ids import RuntimeId
from schemas.records import Known, OutboxMessage, StoredRuntime
from store.activation import Activation
from store.codec import Codec
from store.commit import GroupCommit
from store.contents import ContentReader
from store.dead_letters import DeadLetters
from store.dedupe import Dedupe
from store.engine import Database
from store.errors import StoreError
from store.letter_acts import LetterActs
from store.outbox import Outbox
from store.ports import (
    Commit,
    CommitResult,
    Contents,
    DueTimer,
    Lookup,
    Wanted,
    WorkerPresence,
)
from store.presence import Presences
from store.queries import Queries
from store.references import References
from store.retention import Retention
from store.runtimes import Runtimes
from store.timers import Timers
from store.upkeep import Upkeep
from store.writes import Statements


class SqlStore:
    """A ``RuntimeStore`` in a database, and what people ask of it.

    Attributes:
        database: The database itself.
        queries: What people ask about runtimes.
        dead_letters: What people ask about dead letters.
        letter_acts: What people do with dead letters.
        retention: Deletes what is over and old.
        references: Which blobs are needed.
        upkeep: What must be seen to.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        codec = Codec(database.flavour.uuid, database.flavour.moment)
        statements = Statements(database)
        self.queries = Queries(database, codec)
        self.dead_letters = DeadLetters(database, codec)
        self.letter_acts = LetterActs(database, codec, statements)
        self.retention = Retention(database, codec)
        self.references = References(database)
        self.upkeep = Upkeep(database, codec)
        self._commits = GroupCommit(database, codec, statements)
        self._activation = Activation(database, codec)
        self._runtimes = Runtimes(database, codec, self._activation)
        self._dedupe = Dedupe(database, codec)
        self._contents = ContentReader(database, codec)
        self._outbox = Outbox(database, codec)
        self._timers = Timers(database, codec)
        self._presences = Presences(database, codec)

    async def close(self) -> None:
        """Let go of all connections. The store is not used afterwards."""
        await self.database.close()

    async def activate(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """See ``RuntimeStore``."""
        return await self._activation.take(runtime_id, owner=owner, now=now)

    async def read(self, runtime_id: RuntimeId) -> StoredRuntime | None:
        """See ``RuntimeStore``."""
        return await self._activation.read(runtime_id)

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        """See ``RuntimeStore``."""
        return await self._commits.commit(parts)

    async def known(self, lookups: Sequence[Lookup]) -> list[Known]:
        """See ``RuntimeStore``."""
        return await self._dedupe.known(lookups)

    async def contents(self, wanted: Sequence[Wanted]) -> list[Contents | StoreError]:
        """See ``RuntimeStore``."""
        return await self._contents.read(wanted)

    async def register(self, runtime_ids: Sequence[RuntimeId], *, now: datetime) -> list[RuntimeId]:
        """See ``RuntimeStore``."""
        return await self._runtimes.register(runtime_ids, now=now)

    async def runtime_ids(self) -> list[RuntimeId]:
        """See ``RuntimeStore``."""
        return await self._runtimes.runtime_ids()

    async def unpublished(self, *, before: datetime, limit: int) -> list[OutboxMessage]:
        """See ``RuntimeStore``."""
        return await self._outbox.unpublished(before=before, limit=limit)

    async def fire_timers(self, *, now: datetime, limit: int) -> list[DueTimer]:
        """See ``RuntimeStore``."""
        return await self._timers.fire(now=now, limit=limit)

    async def heartbeat(self, presence: WorkerPresence) -> None:
        """See ``RuntimeStore``."""
        await self._presences.heartbeat(presence)

    async def workers(self) -> list[WorkerPresence]:
        """See ``RuntimeStore``."""
        return await self._presences.workers()

    async def forget_worker(self, worker_id: str) -> None:
        """See ``RuntimeStore``."""
        await self._presences.forget(worker_id)
