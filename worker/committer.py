"""The committer: one transaction for all that is ready, and patience while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Final, Protocol, TypeVar

import structlog

from schemas.ids import RuntimeId
from schemas.records import Known, StoredRuntime
from store.errors import StoreError, StoreUnavailableError
from store.gather import Gather
from store.ports import Commit, CommitResult, Contents, Lookup, RuntimeStore, Wanted
from worker.broker.backoff import Backoff

PAYLOADS: Final = 200
"""Payloads that are read at once: each may be as large as a message."""

log = structlog.get_logger()
T = TypeVar("T")


class CommitObserver(Protocol):
    """Who is told about commits: metrics."""

    def committed(
        self, parts: Sequence[Commit], results: Sequence[CommitResult], seconds: float
    ) -> None:
        """Take note of one group commit."""
        ...

    def database(self, *, away: bool) -> None:
        """Take note of the database going away or coming back."""
        ...


class Committer:
    """Groups the commits, and the lookups, of many runtimes.

    Args:
        store: Where to commit.
        grace: Seconds that the database may be away before deliveries are given back.
        max_rows: The most rows, and the most ids, of one call.
        observer: Told of commits, and of the database going and coming.

    A call that finds the database away is tried again within the grace; meanwhile whoever submitted
    waits, holding its deliveries. When the grace is over the submitters get
    ``StoreUnavailableError`` and ``gave_up`` is set, for whoever stops the consuming.
    """

    def __init__(
        self, store: RuntimeStore, *, grace: float, max_rows: int, observer: CommitObserver
    ) -> None:
        self._store = store
        self._grace = grace
        self._observer = observer
        self._commits = Gather(self._commit, weigh=_rows, bound=max_rows)
        self._lookups = Gather(self._known, weigh=_ids, bound=max_rows)
        self._readings = Gather(self._contents, weigh=_payloads, bound=PAYLOADS)
        self._away = False
        self.gave_up = asyncio.Event()

    async def commit(self, part: Commit) -> CommitResult:
        """Commit one runtime's part with whatever else is ready.

        Raises:
            StoreUnavailableError: The database stayed away for longer than the grace.
        """
        return await self._commits.submit(part)

    async def known(self, lookup: Lookup) -> Known:
        """Ask what the store knows, together with other runtimes' questions."""
        return await self._lookups.submit(lookup)

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call to the store, trying again within the grace while the database is away."""
        deadline = monotonic() + self._grace
        backoff = Backoff()
        while True:
            try:
                result = await call()
            except StoreUnavailableError as error:
                self._note(away=True, why=str(error))
                wait = backoff.delay()
                if monotonic() + wait > deadline:
                    self.gave_up.set()
                    raise
                await asyncio.sleep(wait)
            else:
                self._note(away=False)
                return result

    async def contents(self, wanted: Wanted) -> Contents:
        """Read payloads and the snapshot of a runtime, together with those of others."""
        return await self._readings.submit(wanted)

    async def activate(self, runtime_id: RuntimeId, *, owner: str, now: datetime) -> StoredRuntime:
        """Take a runtime for a worker."""
        return await self.patiently(lambda: self._store.activate(runtime_id, owner=owner, now=now))

    async def _commit(self, parts: Sequence[Commit]) -> Sequence[CommitResult]:
        started = monotonic()
        results = await self.patiently(lambda: self._store.commit(parts))
        self._observer.committed(parts, results, monotonic() - started)
        return results

    async def _contents(self, wanted: Sequence[Wanted]) -> Sequence[Contents | StoreError]:
        return await self.patiently(lambda: self._store.contents(wanted))

    async def _known(self, lookups: Sequence[Lookup]) -> Sequence[Known]:
        return await self.patiently(lambda: self._store.known(lookups))

    def _note(self, *, away: bool, why: str = "") -> None:
        if away == self._away:
            return
        self._away = away
        self._observer.database(away=away)
        if away:
            log.warning("database away: holding deliveries", why=why, grace=self._grace)
        else:
            log.info("database answers")


def _payloads(wanted: Wanted) -> int:
    return 1 + len(wanted.inputs)


def _rows(part: Commit) -> int:
    changes = part.changes
    return 1 + len(changes.inserted) + len(changes.updated) + len(part.outbox) + len(part.published)


def _ids(lookup: Lookup) -> int:
    return len(lookup.inputs) + len(lookup.keys) + len(lookup.runs) + len(lookup.commands)
