"""Reading: a store opened for one look, and long lists read page by page."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.ids import DeadLetterId
from schemas.records import CorruptRecord
from store.dead_letters import Letter
from store.open import open_store
from store.paging import MOST, Page
from store.sql import SqlStore
from worker.cli.faults import Failure
from worker.exits import ExitCode
from worker.settings import Settings
from worker.terminal import line

T = TypeVar("T")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[SqlStore]:
    """Open the store that the settings name, and close it."""
    store = await open_store(settings.database_url)
    try:
        yield store
    finally:
        await store.close()


async def the_letter(store: SqlStore, letter_id: DeadLetterId) -> tuple[Letter, bytes]:
    """Read one dead letter with its body, or end the command."""
    found = await store.dead_letters.get(letter_id)
    if found is None:
        raise Failure(ExitCode.NOT_FOUND, f"no dead letter {letter_id}")
    return found


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list, as far as it was asked for; ``more`` says that it goes on."""

    items: list[T]
    damaged: list[CorruptRecord]
    more: bool

    def warn(self) -> None:
        """Say on stderr what the list does not show."""
        for row in self.damaged:
            sys.stderr.write(line(f"{row.input_id} cannot be decoded: {row.detail}") + "\n")
        if self.more:
            sys.stderr.write(f"there are more than these {len(self.items)}: raise --limit\n")


async def listed(fetch: Callable[[int, str | None], Awaitable[Page[T]]], limit: int) -> Listing[T]:
    """Read pages until the list ends, or holds ``limit`` rows."""
    items: list[T] = []
    damaged: list[CorruptRecord] = []
    after: str | None = None
    while len(items) < limit:
        found = await fetch(min(limit - len(items), MOST), after)
        items += found.items
        damaged += found.damaged
        after = found.next
        if after is None:
            break
    return Listing(items, damaged, more=after is not None)
