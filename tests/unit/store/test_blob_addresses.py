"""Addresses of blob stores: read whole, or refused without a word of their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.blobs import (
    S3Address,
    open_blobs,
    read_address,
)
from store.errors import (
    BlobAddressError,
)


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
