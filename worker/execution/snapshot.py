"""Session snapshots: bytes to the executor, base64 text or a blob reference on the wire."""

from __future__ import annotations

import binascii
from typing import Final

from schemas.content import BlobRef, blob
from schemas.runs import SessionSnapshot
from store.errors import BlobMissingError
from store.ports import BlobStore
from worker.execution.errors import SnapshotError

MEDIA_TYPE: Final = "application/octet-stream"
INLINE_BYTES: Final = 64 * 1024
"""Snapshots above this size go to the blob store, so that messages stay small."""


class Snapshots:
    """Loads and keeps session snapshots, with a blob store or without."""

    __slots__ = ("_blobs", "_inline_bytes")

    def __init__(self, blobs: BlobStore | None, inline_bytes: int = INLINE_BYTES) -> None:
        self._blobs = blobs
        self._inline_bytes = inline_bytes

    async def load(self, snapshot: SessionSnapshot | None) -> bytes | None:
        """Read what a run request carries.

        Raises:
            SnapshotError: The blob is missing, or there is no blob store to ask.
            BlobStoreUnavailableError: The blob store cannot be reached now.
        """
        match snapshot:
            case None:
                return None
            case BlobRef(blob_id):
                return await self._fetch(blob_id)
            case text:
                return binascii.a2b_base64(text)

    async def keep(self, data: bytes) -> SessionSnapshot:
        """Make the wire form: durable in the blob store first, if it is large.

        Raises:
            SnapshotError: It is large, and there is no blob store.
            BlobStoreUnavailableError: The blob store cannot be reached now.
        """
        text = binascii.b2a_base64(data, newline=False).decode()
        if len(data) <= self._inline_bytes:
            return text
        if self._blobs is None:
            raise SnapshotError(
                f"a snapshot of {len(data)} bytes needs a blob store: set MEERKAT_BLOBS"
            )
        stored = blob(MEDIA_TYPE, text)
        await self._blobs.put(stored)
        return BlobRef(stored.blob_id)

    async def _fetch(self, blob_id: str) -> bytes:
        if self._blobs is None:
            raise SnapshotError("the session snapshot is a blob, and there is no blob store")
        try:
            return (await self._blobs.get(blob_id)).data
        except BlobMissingError as error:
            raise SnapshotError(str(error)) from error
