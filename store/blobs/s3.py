"""Blobs as objects of an S3 bucket, through the ``minio`` client."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Final, TypeVar
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import EnvAWSProvider, Provider, StaticProvider
from minio.datatypes import Object
from minio.error import MinioException, S3Error

from schemas.content import Blob
from store.blobs.address import S3Address
from store.blobs.names import checked_name, id_of, intact, name_of
from store.errors import BlobMissingError, BlobStoreUnavailableError

_T = TypeVar("_T")

_THREADS: Final = 8
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 15.0
_PAGE: Final = 1000
_SMALLEST_PART: Final = 5 * 1024 * 1024
_GONE: Final = frozenset({"NoSuchKey", "NoSuchObject"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_BUCKET_IS_THERE: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


class S3BlobStore:
    """An object per blob: ``<prefix>sha256/<64 hex digits>``, its media type as content type.

    The client is synchronous: it runs in a bounded pool of threads with a connection each.
    A put is never conditional: it is idempotent, it must make the blob young again so that no
    sweeper takes it, and it repairs damage.
    """

    def __init__(
        self, address: S3Address, *, threads: int = _THREADS, read_seconds: float = _READ_SECONDS
    ) -> None:
        self._address = address
        self._folder = f"{address.prefix}sha256/"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._connections = _connections(threads, read_seconds)
        self._client = Minio(
            address.endpoint,
            region=address.region,
            secure=address.secure,
            credentials=_credentials(address),
            http_client=self._connections,
        )

    def __repr__(self) -> str:
        return f"S3BlobStore({self._address!r})"

    async def prepare(self) -> None:
        """Make the bucket if it is missing, and prove that an object can be written."""
        await self._in_thread(self._prepare)

    async def put(self, blob: Blob) -> None:
        """Store a blob: the server has it when this returns."""
        await self._in_thread(lambda: self._put(blob))

    async def get(self, blob_id: str) -> Blob:
        """Read a blob and check it against its id."""
        return await self._in_thread(lambda: self._get(blob_id))

    async def exists(self, blob_id: str) -> bool:
        """Tell whether a blob is there."""
        try:
            await self._in_thread(lambda: self._stored_at(blob_id))
        except BlobMissingError:
            return False
        return True

    async def delete(self, blob_id: str, *, stored_before: datetime | None = None) -> None:
        """Delete a blob, but not one stored (again) at or after a moment.

        S3 cannot compare and delete in one step: a put within the round trip between the two would
        be lost. Callers keep that moment far in the past.
        """
        await self._in_thread(lambda: self._delete(blob_id, stored_before))

    async def iterate(self) -> AsyncIterator[tuple[str, datetime]]:
        """Go through ids and the moments at which the server stored them."""
        objects = await self._in_thread(self._objects)
        while page := await self._in_thread(lambda: list(islice(objects, _PAGE))):
            for item in page:
                blob_id = id_of((item.object_name or "").removeprefix(self._folder))
                if blob_id is not None and item.last_modified is not None:
                    yield blob_id, item.last_modified

    async def close(self) -> None:
        """Wait for the calls in flight, end the threads, close the connections."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self._connections.clear()

    # --- in a thread -----------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._translated, work)

    def _translated(self, work: Callable[[], _T]) -> _T:
        try:
            return self._in_bucket(work)
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ParseError) as error:
            where = f"bucket {self._address.bucket} at {self._address.endpoint}"
            raise BlobStoreUnavailableError(f"{where}: {_reason(error)}") from error

    def _in_bucket(self, work: Callable[[], _T]) -> _T:
        """Do some work; if there is no bucket, make it and do the work again."""
        try:
            return work()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
        self._make_bucket()
        return work()

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._address.bucket, self._address.region)
        except S3Error as error:
            if error.code not in _BUCKET_IS_THERE:  # somebody else was quicker
                raise

    def _prepare(self) -> None:
        probe = f"{self._address.prefix}probe"
        self._write(probe, b"", "application/octet-stream")
        self._client.remove_object(self._address.bucket, probe)

    def _put(self, blob: Blob) -> None:
        self._write(self._key(checked_name(blob)), blob.data, blob.media_type)

    def _write(self, key: str, data: bytes, media_type: str) -> None:
        size = len(data)
        self._client.put_object(
            self._address.bucket,
            key,
            io.BytesIO(data),
            size,
            content_type=media_type,
            part_size=max(size, _SMALLEST_PART),  # one request, so that it is whole or not there
        )

    def _get(self, blob_id: str) -> Blob:
        key = self._key(name_of(blob_id))
        try:
            response = self._client.get_object(self._address.bucket, key)
        except S3Error as error:
            raise _missing(error, blob_id) from error
        try:
            data = response.read()
        finally:
            response.close()
            response.release_conn()
        return intact(Blob(blob_id, response.headers.get("content-type", ""), data))

    def _stored_at(self, blob_id: str) -> datetime:
        key = self._key(name_of(blob_id))
        try:
            found = self._client.stat_object(self._address.bucket, key)
        except S3Error as error:
            raise _missing(error, blob_id) from error
        return found.last_modified or datetime.now(UTC)

    def _delete(self, blob_id: str, stored_before: datetime | None) -> None:
        try:
            key = self._key(name_of(blob_id))
            if stored_before is None or self._stored_at(blob_id) < stored_before:
                self._client.remove_object(self._address.bucket, key)
        except BlobMissingError:
            return

    def _objects(self) -> Iterator[Object]:
        return iter(self._client.list_objects(self._address.bucket, prefix=self._folder))

    def _key(self, name: str) -> str:
        return self._folder + name


def _connections(threads: int, read_seconds: float) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        maxsize=threads,
        block=True,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_seconds),
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
        retries=urllib3.Retry(
            total=2, read=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)
        ),
    )


def _credentials(address: S3Address) -> Provider:
    if address.access_key is None or address.secret_key is None:
        provider = EnvAWSProvider()
        provider.retrieve()  # raises now, rather than at the first blob
        return provider
    return StaticProvider(address.access_key, address.secret_key)


def _missing(error: S3Error, blob_id: str) -> Exception:
    """Tell an object that is not there from everything else that S3 may answer."""
    return BlobMissingError(blob_id) if error.code in _GONE else error


def _reason(error: Exception) -> str:
    """Say what went wrong without quoting a response: gateways may answer with anything."""
    match error:
        case S3Error():
            hint = ": check the keys and their rights" if error.code in _REFUSED else ""
            return f"the server answers {error.code}{hint}"
        case MinioException() | ParseError():
            return "the server answers with a failure that is not S3's"
        case urllib3.exceptions.MaxRetryError():
            return f"not reached ({type(error.reason).__name__})"
        case _:
            return f"not reached ({type(error).__name__})"
