"""What every blob store promises: in memory, in a directory, in an S3 bucket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.content import Blob, blob_of
from store.blobs import (
    MemoryBlobStore,
    open_blobs,
    sweep_orphans,
)
from store.errors import (
    BlobMissingError,
)
from store.ports import BlobStore
from worker.sandbox import S3Address as ServerAddress

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(range(256))
ABSENT = f"sha256:{'0' * 64}"
HOUR = timedelta(hours=1)


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=pytest.mark.object_store)])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """Each implementation in turn, empty."""
    match request.param:
        case "memory":
            store: BlobStore = MemoryBlobStore()
        case "directory":
            store = open_blobs(str(tmp_path / "blobs"))
        case _:
            server: ServerAddress = request.getfixturevalue("object_store")
            store = open_blobs(server.url(request.getfixturevalue("bucket")))
    yield store
    await store.close()


async def test_a_blob_comes_back_as_it_went_in(blobs: BlobStore) -> None:
    stored = blob_of("image/png", PNG)
    await blobs.put(stored)
    assert await blobs.get(stored.blob_id) == stored
    assert await blobs.exists(stored.blob_id)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"\xff\x00"], ids=repr)
async def test_any_bytes_come_back(blobs: BlobStore, data: bytes) -> None:
    stored = blob_of("application/octet-stream", data)
    await blobs.put(stored)
    assert await blobs.get(stored.blob_id) == stored


async def test_ten_mebibytes_come_back(blobs: BlobStore) -> None:
    stored = blob_of("image/tiff", os.urandom(10 * 1024 * 1024))
    await blobs.put(stored)
    assert await blobs.get(stored.blob_id) == stored


async def test_the_same_bytes_of_two_media_types_are_two_blobs(blobs: BlobStore) -> None:
    first, second = blob_of("image/png", PNG), blob_of("image/x-png", PNG)
    await blobs.put(first)
    assert not await blobs.exists(second.blob_id)
    await blobs.put(second)
    assert (await blobs.get(first.blob_id)).media_type == "image/png"
    assert (await blobs.get(second.blob_id)).media_type == "image/x-png"


async def test_a_blob_that_is_not_there_is_missing(blobs: BlobStore) -> None:
    assert not await blobs.exists(ABSENT)
    with pytest.raises(BlobMissingError, match=ABSENT) as caught:
        await blobs.get(ABSENT)
    assert caught.value.blob_id == ABSENT


@pytest.mark.parametrize(
    "hostile",
    ["", "sha256:", "sha256:../../etc/passwd", "../x", f"sha256:{'A' * 64}", f"{ABSENT}\n"],
    ids=repr,
)
async def test_text_that_is_no_id_names_nothing(blobs: BlobStore, hostile: str) -> None:
    assert not await blobs.exists(hostile)
    await blobs.delete(hostile)
    with pytest.raises(BlobMissingError):
        await blobs.get(hostile)


async def test_a_blob_under_a_foreign_id_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(ValueError, match="blob_id: expected the digest"):
        await blobs.put(Blob(ABSENT, "image/png", PNG))
    assert not await blobs.exists(ABSENT)


async def test_the_same_blob_twice_is_one_blob(blobs: BlobStore) -> None:
    stored = blob_of("image/png", PNG)
    await blobs.put(stored)
    await blobs.put(stored)
    assert [found async for found, _ in blobs.iterate()] == [stored.blob_id]


async def test_concurrent_puts_all_arrive_and_do_not_disturb_each_other(blobs: BlobStore) -> None:
    wanted = [blob_of("text/plain", str(number % 20).encode()) for number in range(100)]
    await asyncio.gather(*(blobs.put(stored) for stored in wanted))
    found = await asyncio.gather(*(blobs.get(stored.blob_id) for stored in wanted))
    assert found == wanted
    assert {name async for name, _ in blobs.iterate()} == {stored.blob_id for stored in wanted}


async def test_a_deleted_blob_is_gone_and_deleting_it_again_changes_nothing(
    blobs: BlobStore,
) -> None:
    stored = blob_of("image/png", PNG)
    await blobs.put(stored)
    await blobs.delete(stored.blob_id)
    await blobs.delete(stored.blob_id)
    assert not await blobs.exists(stored.blob_id)
    assert [found async for found in blobs.iterate()] == []


async def test_iteration_tells_when_a_blob_was_stored(blobs: BlobStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await blobs.put(blob_of("image/png", PNG))
    moments = [moment async for _, moment in blobs.iterate()]
    assert len(moments) == 1
    assert before < moments[0] < datetime.now(UTC) + timedelta(seconds=5)


async def test_a_young_blob_is_not_deleted_where_an_old_one_would_be(blobs: BlobStore) -> None:
    stored = blob_of("image/png", PNG)
    await blobs.put(stored)
    await blobs.delete(stored.blob_id, stored_before=datetime.now(UTC) - HOUR)
    assert await blobs.exists(stored.blob_id)
    await blobs.delete(stored.blob_id, stored_before=datetime.now(UTC) + HOUR)
    assert not await blobs.exists(stored.blob_id)


async def test_preparing_twice_leaves_no_blob(blobs: BlobStore) -> None:
    await blobs.prepare()
    await blobs.prepare()
    assert [found async for found in blobs.iterate()] == []


async def test_orphans_are_swept_and_what_is_referenced_or_young_stays(blobs: BlobStore) -> None:
    orphan, kept = blob_of("text/plain", b"orphan"), blob_of("text/plain", b"kept")
    await asyncio.gather(blobs.put(orphan), blobs.put(kept))

    async def referenced(ids: object) -> list[str]:
        assert isinstance(ids, list)
        return [kept.blob_id]

    now = datetime.now(UTC)
    assert await sweep_orphans(blobs, referenced, grace=HOUR, now=now) == []
    assert await sweep_orphans(blobs, referenced, grace=HOUR, now=now + 2 * HOUR) == [
        orphan.blob_id
    ]
    assert not await blobs.exists(orphan.blob_id)
    assert await blobs.exists(kept.blob_id)


async def test_sweeping_asks_in_pages_and_never_for_nothing() -> None:
    blobs = MemoryBlobStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(1000):
        await blobs.put(blob_of("text/plain", str(number).encode()))
    pages: list[int] = []

    async def referenced(ids: object) -> list[str]:
        assert isinstance(ids, list)
        pages.append(len(ids))
        return []

    deleted = await sweep_orphans(
        blobs, referenced, grace=HOUR, now=datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert len(deleted) == 1000
    assert pages == [500, 500]
