"""What every blob store promises, and what each promises of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.content import Blob, blob, blob_id, blob_of
from store.blobs import (
    DirectoryBlobStore,
    MemoryBlobStore,
    S3BlobStore,
    open_blobs,
    read_address,
    sweep_orphans,
)
from store.blobs.s3 import S3Address
from store.errors import (
    BlobAddressError,
    BlobDamagedError,
    BlobMissingError,
    BlobStoreUnavailableError,
)
from store.ports import BlobStore
from worker.sandbox import ObjectStore
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


# --- what all promise ----------------------------------------------------------------------------


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


# --- the directory -------------------------------------------------------------------------------


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[DirectoryBlobStore]:
    store = DirectoryBlobStore(tmp_path / "blobs")
    yield store
    await store.close()


def files_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


CRASHING = """
import asyncio, os, sys
from pathlib import Path
from schemas.content import blob_of
from store.blobs import DirectoryBlobStore
Path.replace = lambda self, target: os._exit(9)
asyncio.run(DirectoryBlobStore(Path(sys.argv[1])).put(blob_of("text/plain", b"never seen")))
"""


async def test_a_crash_before_the_rename_leaves_nothing_visible(
    directory: DirectoryBlobStore, tmp_path: Path
) -> None:
    crash = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, str(tmp_path / "blobs")
    )
    assert await crash.wait() == 9
    assert len(files_of(tmp_path / "blobs")) == 1, "the written file should have stayed behind"
    assert [found async for found in directory.iterate()] == []
    assert not await directory.exists(blob_of("text/plain", b"never seen").blob_id)


async def test_preparing_removes_what_crashes_left_days_ago(
    directory: DirectoryBlobStore, tmp_path: Path
) -> None:
    await directory.prepare()
    old, young = (tmp_path / "blobs" / "incoming" / name for name in ("old", "young"))
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    await directory.prepare()
    assert files_of(tmp_path / "blobs") == [young]


@pytest.mark.parametrize("content", [b"", b"image/png\n", b"image/gif\n" + PNG, b"\xff\n" + PNG])
async def test_damage_is_told_and_storing_again_repairs_it(
    directory: DirectoryBlobStore, tmp_path: Path, content: bytes
) -> None:
    stored = blob_of("image/png", PNG)
    await directory.put(stored)
    (file,) = files_of(tmp_path / "blobs")
    file.write_bytes(content)
    with pytest.raises(BlobDamagedError, match=r"is damaged") as caught:
        await directory.get(stored.blob_id)
    assert caught.value.blob_id == stored.blob_id
    await directory.put(stored)
    assert await directory.get(stored.blob_id) == stored


async def test_storing_again_makes_a_blob_young(
    directory: DirectoryBlobStore, tmp_path: Path
) -> None:
    stored = blob_of("image/png", PNG)
    await directory.put(stored)
    (file,) = files_of(tmp_path / "blobs")
    os.utime(file, (0, 0))
    await directory.put(stored)
    await directory.delete(stored.blob_id, stored_before=datetime.now(UTC) - HOUR)
    assert await directory.exists(stored.blob_id)


async def test_a_directory_that_was_removed_is_made_again(
    directory: DirectoryBlobStore, tmp_path: Path
) -> None:
    stored = blob_of("image/png", PNG)
    await directory.prepare()
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")
    with pytest.raises(BlobStoreUnavailableError, match="No such file or directory"):
        await directory.put(stored)
    await directory.put(stored)
    assert await directory.get(stored.blob_id) == stored


async def test_a_directory_that_cannot_be_made_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    blobs = open_blobs(str(tmp_path / "file" / "blobs"))
    with pytest.raises(BlobStoreUnavailableError, match=r"blob directory .*Not a directory"):
        await blobs.prepare()
    await blobs.close()


async def test_foreign_files_are_passed_over(directory: DirectoryBlobStore, tmp_path: Path) -> None:
    await directory.prepare()
    (tmp_path / "blobs" / "ab" / "README").write_text("not a blob")
    assert [found async for found in directory.iterate()] == []


# --- S3 ------------------------------------------------------------------------------------------


@pytest.mark.object_store
async def test_wrong_credentials_are_refused_without_telling_them(
    object_store: ServerAddress,
) -> None:
    key = object_store.access_key
    wrong = S3Address(
        object_store.endpoint, "blobs", secure=False, access_key=key, secret_key="hunter2"
    )
    blobs = S3BlobStore(wrong)
    for call in (blobs.prepare, lambda: blobs.get(ABSENT), lambda: blobs.exists(ABSENT)):
        with pytest.raises(BlobStoreUnavailableError, match="check the keys") as caught:
            await call()
        assert "hunter2" not in str(caught.value)
        assert key not in str(caught.value)
    assert "hunter2" not in repr(blobs)
    await blobs.close()


@pytest.mark.object_store
async def test_a_server_that_went_away_is_told_and_found_again_when_it_is_back(
    private_object_store: ObjectStore,
) -> None:
    stored = blob_of("image/png", PNG)
    blobs = open_blobs(private_object_store.url("blobs"))
    await blobs.put(stored)
    private_object_store.kill()
    with pytest.raises(BlobStoreUnavailableError, match=r"bucket blobs at .* not reached"):
        await blobs.get(stored.blob_id)
    with pytest.raises(BlobStoreUnavailableError):
        await blobs.put(stored)
    private_object_store.restart()
    assert await blobs.get(stored.blob_id) == stored
    await blobs.close()


@pytest.mark.object_store
async def test_a_server_that_hangs_is_given_up_in_time(private_object_store: ObjectStore) -> None:
    address = read_address(private_object_store.url("blobs"))
    assert isinstance(address, S3Address)
    blobs = S3BlobStore(address, read_seconds=0.5)
    await blobs.prepare()
    private_object_store.pause()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(BlobStoreUnavailableError, match="not reached"):
                await blobs.get(ABSENT)
    finally:
        private_object_store.resume()
    assert not await blobs.exists(ABSENT)
    await blobs.close()


@pytest.mark.object_store
async def test_stores_with_prefixes_share_a_bucket_without_seeing_each_other(
    object_store: ServerAddress, bucket: str
) -> None:
    first, second = (open_blobs(object_store.url(f"{bucket}/{name}")) for name in ("one", "two"))
    stored = blob_of("image/png", PNG)
    await first.put(stored)
    assert not await second.exists(stored.blob_id)
    assert [found async for found in second.iterate()] == []
    assert [found async for found, _ in first.iterate()] == [stored.blob_id]
    await first.close()
    await second.close()


@pytest.mark.object_store
async def test_two_workers_may_make_the_bucket_at_once(
    object_store: ServerAddress, bucket: str
) -> None:
    stores = [open_blobs(object_store.url(bucket)) for _ in range(4)]
    stored = blob_of("image/png", PNG)
    await asyncio.gather(*(store.put(stored) for store in stores))
    assert await stores[0].get(stored.blob_id) == stored
    await asyncio.gather(*(store.close() for store in stores))


# --- addresses and ids ---------------------------------------------------------------------------


def test_an_s3_address_is_read_whole() -> None:
    """Keys may hold characters that a URL must escape."""
    assert read_address("s3://K%2F:S%40@h:9/bbb/some/where?secure=false&region=eu-1") == S3Address(
        "h:9", "bbb", "some/where/", "eu-1", secure=False, access_key="K/", secret_key="S@"
    )


@pytest.mark.parametrize(
    ("address", "path"),
    [("blobs", "blobs"), ("/var/blobs", "/var/blobs"), ("file:///var/my%20blobs", "/var/my blobs")],
)
def test_a_path_is_a_directory(address: str, path: str) -> None:
    assert read_address(address) == Path(path)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "got nothing"),
        ("http://secret@host/bucket", "expected a path, file"),
        ("file://host/x", "expected a path, file"),
        ("s3://k:secret@/bucket", "expected s3://KEY:SECRET@host:port/bucket"),
        ("s3://k:secret@host:1", "expected s3://KEY:SECRET@host:port/bucket"),
        ("s3://k:secret@host:1/Upper_Case", "the bucket of 3 to 63"),
        ("s3://secret@host:1/bucket", "expected KEY:SECRET"),
        ("s3://k:secret@host:1/bucket?secure=maybe", "expected true or false for secure"),
        ("s3://k:secret@host:1/bucket?sercure=true", "unknown option 'sercure'"),
        ("s3://k:secret@[host:1/bucket", "expected a path or an s3:// URL"),
        ("s3://k:secret@ho st:1/bucket", "expected s3://KEY:SECRET@host:port/bucket"),
        ("s3://k:secret@host:99999/bucket", "blob store address: "),
    ],
)
def test_a_wrong_address_is_told_without_its_secrets(address: str, problem: str) -> None:
    with pytest.raises(BlobAddressError, match=problem) as caught:
        open_blobs(address)
    assert "secret" not in str(caught.value).replace("KEY:SECRET", "")


def test_keys_come_from_the_environment_where_the_address_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_ACCESS_KEY", raising=False)
    with pytest.raises(BlobAddressError, match="Access key"):
        open_blobs("s3://host:1/bucket")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in repr(open_blobs("s3://host:1/bucket"))


def test_an_id_is_the_digest_of_media_type_zero_and_base64() -> None:
    expected = f"sha256:{hashlib.sha256(b'image/png' + bytes(1) + b'aGk=').hexdigest()}"
    assert blob_id("image/png", "aGk=") == expected
    assert blob_of("image/png", b"hi") == blob("image/png", "aGk=")
    assert blob("image/png", "aGk=") == Blob(expected, "image/png", b"hi")
