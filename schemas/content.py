"""Content blocks: text and images, inline or as a reference to a blob."""

from __future__ import annotations

import binascii
import hashlib
from typing import Annotated, Literal

import msgspec

BlobId = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$(?!\n)")]
"""``sha256:`` and the hex digest over media type, a zero byte and the base64 text."""

_RESTRICTED_NAME = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"

MediaType = Annotated[
    str,
    msgspec.Meta(pattern=rf"^{_RESTRICTED_NAME}/{_RESTRICTED_NAME}$(?!\n)", max_length=127),
]
"""Type and subtype as RFC 6838 spells them, ASCII alone; it travels in HTTP headers."""


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="image"):
    """An image: ``data`` (base64) when inline, ``blob_id`` when it lives in the blob store."""

    media_type: MediaType
    source: Literal["inline", "blob"]
    data: str | None = None
    blob_id: BlobId | None = None

    def __post_init__(self) -> None:
        """Exactly the field that the source names must be there, and base64 must be base64."""
        if self.source == "blob" and (self.blob_id is None or self.data is not None):
            raise ValueError("expected blob_id, and no data, for source blob")
        if self.source == "inline":
            if self.data is None or self.blob_id is not None:
                raise ValueError("expected data, and no blob_id, for source inline")
            _check_base64(self.data)


Block = Text | Image


class BlobRef(msgspec.Struct, frozen=True):
    """A reference to bytes in the blob store."""

    blob_id: BlobId


class Blob(msgspec.Struct, frozen=True):
    """Bytes on their way to the blob store."""

    blob_id: str
    media_type: str
    data: bytes


def blob_id(media_type: str, base64_text: str) -> str:
    """Name content by its digest, as meerkat-runtime 0.5.0 does."""
    digest = hashlib.sha256(media_type.encode())
    digest.update(b"\0")
    digest.update(base64_text.encode())
    return f"sha256:{digest.hexdigest()}"


def blob(media_type: str, base64_text: str) -> Blob:
    """Make a blob of base64 text.

    Raises:
        ValueError: The text is not base64.
    """
    return blob_of(media_type, binascii.a2b_base64(base64_text, strict_mode=True))


def blob_of(media_type: str, data: bytes) -> Blob:
    """Make a blob of bytes."""
    return Blob(blob_id(media_type, base64_of(data)), media_type, data)


def base64_of(data: bytes) -> str:
    """Write bytes as the base64 text that a blob id is made of: padded, on one line."""
    return binascii.b2a_base64(data, newline=False).decode()


def is_intact(candidate: Blob) -> bool:
    """Tell whether a blob's id is the digest of its content."""
    return candidate.blob_id == blob_id(candidate.media_type, base64_of(candidate.data))


def _check_base64(text: str) -> None:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError("expected base64") from error
