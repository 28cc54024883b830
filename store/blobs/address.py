"""Addresses of blob stores: a directory, or a bucket of an S3 server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from store.blobs.directory import DirectoryBlobStore
from store.errors import BlobAddressError
from store.ports import BlobStore

_OPTIONS: Final = frozenset({"region", "secure"})
_ENDPOINT: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where a bucket is and who asks. Without keys, ``AWS_ACCESS_KEY_ID`` and so on are read."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    secure: bool = True
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)


def open_blobs(address: str) -> BlobStore:
    """Open the blob store at an address; ``prepare`` then finds out whether it answers.

    Args:
        address: The path of a directory, ``file:///path``, or
            ``s3://KEY:SECRET@host:port/bucket[/prefix]?secure=false&region=…``. Without keys, S3
            takes them from ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``.

    Raises:
        BlobAddressError: The address cannot be read.
    """
    where = read_address(address)
    if isinstance(where, Path):
        return DirectoryBlobStore(where)
    from store.blobs.s3 import S3BlobStore  # noqa: PLC0415 - its client is slow to import

    try:
        return S3BlobStore(where)
    except ValueError as error:  # the client's own words: about a host, or a missing key
        raise BlobAddressError(f"blob store address: {error}") from error


def read_address(address: str) -> S3Address | Path:
    """Read an address.

    Raises:
        BlobAddressError: Says which part is wrong; never quotes it.
    """
    if not address:
        raise BlobAddressError("blob store address: expected a path or an s3:// URL, got nothing")
    if "://" not in address:
        return Path(address)
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise BlobAddressError("blob store address: expected a path or an s3:// URL") from error
    match parts.scheme:
        case "s3":
            return _s3_address(parts)
        case "file" if parts.netloc in ("", "localhost"):
            return Path(unquote(parts.path))
        case _:
            raise BlobAddressError("blob store address: expected a path, file:///… or s3://…")


def _s3_address(parts: SplitResult) -> S3Address:
    keys, _, endpoint = parts.netloc.rpartition("@")
    bucket, _, prefix = unquote(parts.path).strip("/").partition("/")
    if _ENDPOINT.fullmatch(endpoint) is None or _BUCKET.fullmatch(bucket) is None:
        raise BlobAddressError(
            "blob store address: expected s3://KEY:SECRET@host:port/bucket, the bucket of 3 to 63 "
            "lower-case letters, digits, '.' and '-'"
        )
    access_key, colon, secret_key = keys.partition(":")
    if keys and not (access_key and colon and secret_key):
        raise BlobAddressError("blob store address: expected KEY:SECRET before the @, or neither")
    options = _options(parts.query)
    return S3Address(
        endpoint=endpoint,
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        region=options.get("region", "us-east-1"),
        secure=_truth(options.get("secure", "true")),
        access_key=unquote(access_key) or None,
        secret_key=unquote(secret_key) or None,
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise BlobAddressError(f"blob store address: unknown option {unknown[0]!r}")
    return options


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise BlobAddressError("blob store address: expected true or false for secure")
    return _TRUTHS[text.lower()]
