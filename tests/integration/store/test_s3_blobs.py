"""Blobs on S3: wrong keys, a server that goes away or hangs, and answers that are no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

import pytest

from schemas.content import Blob, blob_of
from store.blobs import S3Address, open_blobs, read_address
from store.blobs.s3 import S3BlobStore
from store.errors import (
    BlobDamagedError,
    BlobStoreUnavailableError,
)
from store.ports import BlobStore
from tests.support.eventually import eventually
from worker.sandbox import ObjectStore
from worker.sandbox import S3Address as ServerAddress

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(range(256))
ABSENT = f"sha256:{'0' * 64}"


# --- a real server


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
    assert await eventually(lambda: _found(blobs, stored.blob_id), 60) == stored
    await blobs.close()


async def _found(blobs: BlobStore, blob_id: str) -> Blob | None:
    try:
        return await blobs.get(blob_id)
    except BlobStoreUnavailableError:
        return None


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


# --- what calls itself S3


Answer = tuple[int, str, bytes]


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    """A server that says what a test tells it to."""
    with Impostor() as server:
        yield server


class Impostor(ThreadingHTTPServer):
    """Answers requests by their method with what `answers` holds for it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ImpostorHandler)
        self.answers: dict[str, Answer] = {}
        self.declared_length: int | None = None
        self._thread = Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def store(self) -> S3BlobStore:
        where = read_address(f"s3://key:secret@127.0.0.1:{self.server_port}/blobs?secure=false")
        assert isinstance(where, S3Address)
        return S3BlobStore(where)


class ImpostorHandler(BaseHTTPRequestHandler):
    server: Impostor

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        status, media_type, body = self.server.answers[self.command]
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(self.server.declared_length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that the server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def s3_error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>hunter2</Message></Error>".encode()


NO_BUCKET = (404, "application/xml", s3_error("NoSuchBucket"))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"GET": (502, "text/html", b"<h1>Bad gateway")}, "not reached"),
        ({"GET": (403, "text/html", b"hunter2")}, "answers with a failure that is not S3's"),
        ({"GET": (404, "application/xml", b"<Error><Co")}, "a failure that is not S3's"),
        ({"GET": (400, "application/xml", s3_error("Odd"))}, "the server answers Odd$"),
        ({"GET": (200, "text/html; hunter2", b"<h1>Welcome")}, "is damaged"),
        (
            {"GET": NO_BUCKET, "PUT": (403, "application/xml", s3_error("AccessDenied"))},
            "the server answers AccessDenied: check the keys and their rights",
        ),
        (
            {
                "GET": NO_BUCKET,
                "PUT": (409, "application/xml", s3_error("BucketAlreadyOwnedByYou")),
            },
            "the server answers NoSuchBucket",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
async def test_whatever_a_server_answers_is_one_clear_sentence(
    impostor: Impostor, answers: dict[str, Answer], reason: str
) -> None:
    impostor.answers = answers
    blobs = impostor.store()
    with pytest.raises((BlobStoreUnavailableError, BlobDamagedError), match=reason) as caught:
        await blobs.get(ABSENT)
    assert "hunter2" not in str(caught.value)
    await blobs.close()


async def test_a_connection_that_is_cut_in_the_middle_of_a_blob_is_told(impostor: Impostor) -> None:
    impostor.answers = {"GET": (200, "image/png", b"half")}
    impostor.declared_length = 8
    blobs = impostor.store()
    with pytest.raises(BlobStoreUnavailableError, match="not reached"):
        await blobs.get(ABSENT)
    await blobs.close()
