"""Blobs as files of a directory, for one machine or a shared file system."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from uuid import uuid4

from schemas.content import Blob
from store.blobs.names import checked_name, id_of, intact, name_of
from store.errors import BlobDamagedError, BlobMissingError, BlobStoreUnavailableError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS: Final = 4
_INCOMING: Final = "incoming"
_SHARDS: Final = tuple(f"{number:02x}" for number in range(256))
_LEFTOVER_SECONDS: Final = 24 * 60 * 60


class DirectoryBlobStore:
    """A file per blob: ``<root>/<first two hex digits>/<64 hex digits>``.

    A file holds the media type, a line feed and the bytes, so that one rename makes both visible.
    It is written and synced under ``incoming`` first: what a crash leaves there is no blob, and
    ``prepare`` removes it when it is a day old.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        self._laid_out = False

    def __repr__(self) -> str:
        return f"DirectoryBlobStore({str(self._root)!r})"

    async def prepare(self) -> None:
        """Make the directories, prove that a file can be written, remove what crashes left."""
        await self._in_thread(self._prepare)

    async def put(self, blob: Blob) -> None:
        """Store a blob: synced to the disk, and so is its name, when this returns."""
        await self._in_thread(self._put, blob)

    async def get(self, blob_id: str) -> Blob:
        """Read a blob and check it against its id."""
        return await self._in_thread(self._get, blob_id)

    async def exists(self, blob_id: str) -> bool:
        """Tell whether a blob is there."""
        return await self._in_thread(self._exists, blob_id)

    async def delete(self, blob_id: str, *, stored_before: datetime | None = None) -> None:
        """Delete a blob, but not one stored (again) at or after a moment."""
        await self._in_thread(self._delete, blob_id, stored_before)

    async def iterate(self) -> AsyncIterator[tuple[str, datetime]]:
        """Go through ids and the moments at which they were stored."""
        for shard in _SHARDS:
            for entry in await self._in_thread(self._entries, shard):
                yield entry

    async def close(self) -> None:
        """Wait for the calls in flight and end the threads."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    # --- in a thread, each after the layout is there ---------------------------------------------

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **_kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._translated, work, *args)

    def _translated(self, work: Callable[..., _T], *args: object) -> _T:
        try:
            if not self._laid_out:
                self._lay_out()
            return work(*args)
        except OSError as error:
            # Somebody may have removed a directory: the next call lays it out anew.
            self._laid_out = False
            reason = error.strerror or type(error).__name__
            raise BlobStoreUnavailableError(f"blob directory {self._root}: {reason}") from error

    def _lay_out(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        for name in (_INCOMING, *_SHARDS):
            (self._root / name).mkdir(exist_ok=True)
        for directory in (self._root, self._root.parent):
            with _opened(directory) as descriptor:
                os.fsync(descriptor)
        self._laid_out = True

    def _prepare(self) -> None:
        oldest = time.time() - _LEFTOVER_SECONDS
        for leftover in (self._root / _INCOMING).iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process's, gone since the list
                if leftover.stat().st_mtime < oldest:
                    leftover.unlink()
        with self._arriving(b"") as probe:
            probe.unlink()

    def _put(self, blob: Blob) -> None:
        path = self._path(checked_name(blob))
        content = b"%b\n%b" % (blob.media_type.encode(), blob.data)
        with self._arriving(content) as arrived, _locked(path.parent) as shard:
            arrived.replace(path)
            os.fsync(shard)

    @contextlib.contextmanager
    def _arriving(self, content: bytes) -> Iterator[Path]:
        path = self._root / _INCOMING / uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _get(self, blob_id: str) -> Blob:
        try:
            content = self._path(name_of(blob_id)).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(blob_id) from error
        media_type, _, data = content.partition(b"\n")
        try:
            return intact(Blob(blob_id, media_type.decode(), data))
        except UnicodeDecodeError as error:
            raise BlobDamagedError(blob_id) from error

    def _exists(self, blob_id: str) -> bool:
        try:
            return self._path(name_of(blob_id)).is_file()
        except BlobMissingError:
            return False

    def _delete(self, blob_id: str, stored_before: datetime | None) -> None:
        try:
            path = self._path(name_of(blob_id))
            with _locked(path.parent) as shard:
                if stored_before is None or _stored_at(path.stat()) < stored_before:
                    path.unlink()
                    os.fsync(shard)
        except (BlobMissingError, FileNotFoundError):
            return

    def _entries(self, shard: str) -> list[tuple[str, datetime]]:
        found: list[tuple[str, datetime]] = []
        with os.scandir(self._root / shard) as entries:
            for entry in entries:
                blob_id = id_of(entry.name)
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    if blob_id is not None:
                        found.append((blob_id, _stored_at(entry.stat())))
        return found

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Hold a shard alone, over processes too.

    Between a sweeper's look at a file's age and its removal nobody may store the blob again.
    """
    with _opened(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor


def _stored_at(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)
