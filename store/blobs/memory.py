"""Blobs in memory, for tests and simulation: no thread, no disk, and a clock from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from schemas.content import Blob
from store.blobs.names import checked_name
from store.errors import BlobMissingError


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryBlobStore:
    """Blobs in a dictionary. They end with the process."""

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self._blobs: dict[str, tuple[Blob, datetime]] = {}

    async def prepare(self) -> None:
        """Nothing is missing."""

    async def put(self, blob: Blob) -> None:
        """Store a blob."""
        checked_name(blob)
        self._blobs[blob.blob_id] = (blob, self._now())

    async def get(self, blob_id: str) -> Blob:
        """Read a blob."""
        if blob_id not in self._blobs:
            raise BlobMissingError(blob_id)
        return self._blobs[blob_id][0]

    async def exists(self, blob_id: str) -> bool:
        """Tell whether a blob is there."""
        return blob_id in self._blobs

    async def delete(self, blob_id: str, *, stored_before: datetime | None = None) -> None:
        """Delete a blob, but not one stored (again) at or after a moment."""
        _, stored_at = self._blobs.get(blob_id, (None, None))
        if stored_at is not None and (stored_before is None or stored_at < stored_before):
            del self._blobs[blob_id]

    async def iterate(self) -> AsyncIterator[tuple[str, datetime]]:
        """Go through ids and the moments at which they were stored."""
        for blob_id, (_, stored_at) in list(self._blobs.items()):
            yield blob_id, stored_at

    async def close(self) -> None:
        """Nothing is held."""
