"""Discard: dead letters given up, with who did it and why."""

from __future__ import annotations

from collections.abc import AsyncIterator

from schemas.ids import DeadLetterId
from store.dead_letters import LetterFilter
from store.letter_acts import Act
from store.sql import SqlStore
from worker.dead_letters.redrive import CHUNK


async def discard_all(
    store: SqlStore, wanted: LetterFilter, act: Act, *, limit: int | None = None
) -> AsyncIterator[int]:
    """Give up the open letters that a filter means, the oldest first; tells how many so far.

    Args:
        store: Where they are.
        wanted: Which letters; their status does not count.
        act: Who does it, when, and why.
        limit: The most letters; None for all.
    """
    done = 0
    left = limit
    after: DeadLetterId | None = None
    while left is None or left > 0:
        most = CHUNK if left is None else min(CHUNK, left)
        found = await store.dead_letters.open_ids(wanted, limit=most, after=after)
        if not found:
            return
        after = found[-1][0]
        left = None if left is None else left - len(found)
        done += len(await store.letter_acts.discard([letter_id for letter_id, _ in found], act))
        yield done
