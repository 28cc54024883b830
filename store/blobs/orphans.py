"""Orphans: blobs that were stored for a commit that never came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from store.ports import BlobStore

Referenced = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Tells which of some blob ids an input or a snapshot refers to."""

_PAGE: Final = 500


async def sweep_orphans(
    blobs: BlobStore, referenced: Referenced, *, grace: timedelta, now: datetime
) -> list[str]:
    """Delete blobs that nothing refers to and that are older than a grace time; answer their ids.

    References are asked for after the listing, a page at a time: what is committed in between is
    seen, and memory stays flat. A blob that is stored again meanwhile is young, and stays.

    Args:
        blobs: The blob store.
        referenced: Asks the runtime store.
        grace: Longer than any commit takes, and than a publisher of blobs takes to publish.
        now: The present moment, by the clock that dates blobs.
    """
    oldest_kept = now - grace
    deleted: list[str] = []
    page: list[str] = []
    async for blob_id, stored_at in blobs.iterate():
        if stored_at < oldest_kept:
            page.append(blob_id)
        if len(page) == _PAGE:
            deleted += await _delete_orphans(blobs, referenced, page, oldest_kept)
            page = []
    return deleted + await _delete_orphans(blobs, referenced, page, oldest_kept)


async def _delete_orphans(
    blobs: BlobStore, referenced: Referenced, page: Sequence[str], oldest_kept: datetime
) -> list[str]:
    kept = set(await referenced(page)) if page else set()
    orphans = [blob_id for blob_id in page if blob_id not in kept]
    for blob_id in orphans:
        await blobs.delete(blob_id, stored_before=oldest_kept)
    return orphans
