"""Blob names: from an id to a safe name in a directory or a bucket, and back."""

from __future__ import annotations

import re
from typing import Final

from schemas.content import Blob, is_intact
from store.errors import BlobDamagedError, BlobMissingError

_PREFIX: Final = "sha256:"
_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(r"[0-9a-f]{64}")


def name_of(blob_id: str) -> str:
    """Give the 64 hex digits of an id: no other text ever reaches a path or an object key.

    Raises:
        BlobMissingError: No blob can have this id.
    """
    if _ID.fullmatch(blob_id) is None:
        raise BlobMissingError(blob_id)
    return blob_id.removeprefix(_PREFIX)


def id_of(name: str) -> str | None:
    """Give the id that a name stands for, or None if it is not the name of a blob."""
    return None if _NAME.fullmatch(name) is None else _PREFIX + name


def checked_name(blob: Blob) -> str:
    """Give the name under which a blob is stored.

    Raises:
        ValueError: The id is not the digest of the content; stored so, it could never be read.
    """
    if not is_intact(blob):
        raise ValueError("blob_id: expected the digest of media type and content")
    return name_of(blob.blob_id)


def intact(blob: Blob) -> Blob:
    """Let a blob through that was read whole.

    Raises:
        BlobDamagedError: The bytes are not those that the id names.
    """
    if not is_intact(blob):
        raise BlobDamagedError(blob.blob_id)
    return blob
