"""Session snapshots between bytes and the wire."""

import base64
import hashlib

import pytest

from schemas.content import BlobRef
from store.blobs import MemoryBlobStore
from worker.execution.errors import SnapshotError
from worker.execution.snapshot import INLINE_BYTES, Snapshots

MISSING = BlobRef("sha256:" + hashlib.sha256(b"nowhere").hexdigest())


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 1_000_000])
async def test_what_is_kept_is_what_is_loaded(size: int) -> None:
    """Whatever its size, byte for byte."""
    snapshots = Snapshots(MemoryBlobStore())
    data = bytes(number % 256 for number in range(size))
    assert await snapshots.load(await snapshots.keep(data)) == data


async def test_only_a_large_snapshot_needs_a_blob_store() -> None:
    """The bound itself is still small."""
    snapshots = Snapshots(None)
    assert (
        await snapshots.keep(b"x" * INLINE_BYTES) == base64.b64encode(b"x" * INLINE_BYTES).decode()
    )
    with pytest.raises(SnapshotError, match="set MEERKAT_BLOBS"):
        await snapshots.keep(b"x" * (INLINE_BYTES + 1))


async def test_a_runtime_without_a_snapshot_has_none() -> None:
    """No snapshot is not an empty one."""
    assert await Snapshots(None).load(None) is None


@pytest.mark.parametrize(
    ("blobs", "why"),
    [(MemoryBlobStore(), "no blob sha256:"), (None, "there is no blob store")],
    ids=["missing blob", "no blob store"],
)
async def test_a_snapshot_that_cannot_be_loaded_says_why(
    blobs: MemoryBlobStore | None, why: str
) -> None:
    """A run must not begin with an empty conversation by mistake."""
    with pytest.raises(SnapshotError, match=why):
        await Snapshots(blobs).load(MISSING)
