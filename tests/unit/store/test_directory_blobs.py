"""The directory of blobs: crashes leave nothing visible, damage is told, storing repairs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.content import blob_of
from store.blobs import (
    DirectoryBlobStore,
    open_blobs,
)
from store.errors import (
    BlobDamagedError,
    BlobStoreUnavailableError,
)

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(range(256))
HOUR = timedelta(hours=1)


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


async def test_a_file_of_another_process_that_vanishes_meanwhile_hinders_no_start(
    directory: DirectoryBlobStore, tmp_path: Path
) -> None:
    await directory.prepare()
    # Listed, and not there when it is looked at: so is the probe of a process that starts beside.
    (tmp_path / "blobs" / "incoming" / "probe").symlink_to(tmp_path / "gone")
    await directory.prepare()


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


async def test_bytes_are_synced_before_they_get_their_name_and_the_name_before_put_returns(
    directory: DirectoryBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after put has returned must find the blob whole."""
    await directory.prepare()
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().parent.name}")
        sync(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        steps.append(f"rename into {target.parent.parent.name}")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    await directory.put(blob_of("image/png", PNG))
    assert steps == ["sync incoming", "rename into blobs", "sync blobs"]
