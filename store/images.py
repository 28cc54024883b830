"""Images: out of an input's JSON into the blob store before the commit, and back for who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec

from schemas.content import Blob, Block, Image, Text, base64_of, blob
from schemas.inputs import ExternalEvent, FlowStep, Input, Peer, Prompt
from store.errors import BlobMissingError
from store.ports import BlobStore


class Externalized(msgspec.Struct, frozen=True):
    """An input's JSON with references in place of inline images, and the blobs to put first."""

    payload: bytes
    blobs: tuple[Blob, ...]


class _Block(msgspec.Struct):
    """What must be known of a block to tell an inline image."""

    type: str
    source: str | None = None
    media_type: str | None = None
    data: str | None = None


_Fields = dict[str, msgspec.Raw]

_object: Final = msgspec.json.Decoder(_Fields)
_array: Final = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_block: Final = msgspec.json.Decoder(_Block)
_encode: Final = msgspec.json.Encoder().encode
_text: Final = msgspec.json.Decoder(str)
_WITH_BLOCKS: Final = frozenset({"prompt", "peer", "flow_step", "external_event"})
_NULL: Final = msgspec.Raw(b"null")


def externalize(payload: bytes) -> Externalized:
    """Take the inline images out of an input's JSON.

    All that is not an image block stays as it is, byte for byte, fields that the contract does not
    know included. A payload without inline images is given back itself.

    Args:
        payload: The JSON of an input that has been decoded before.
    """
    if b'"inline"' not in payload:
        return Externalized(payload, ())
    blobs: dict[str, Blob] = {}
    fields = _object.decode(payload)
    _externalize_input(fields, blobs)
    return Externalized(_encode(fields) if blobs else payload, tuple(blobs.values()))


def _externalize_input(fields: _Fields, blobs: dict[str, Blob]) -> None:
    kind = _text.decode(fields["input_type"])
    if kind not in _WITH_BLOCKS:
        return
    blocks = fields.get("blocks", _NULL)
    if blocks != _NULL:
        fields["blocks"] = _externalize_blocks(blocks, blobs)
    elif kind == "external_event" and bytes(fields["payload"])[:1] == b"{":
        # Blocks once stood in an event's payload; decoding still moves them from there.
        inner = _object.decode(fields["payload"])
        if "blocks" in inner:
            inner["blocks"] = _externalize_blocks(inner["blocks"], blobs)
            fields["payload"] = msgspec.Raw(_encode(inner))


def _externalize_blocks(blocks: msgspec.Raw, blobs: dict[str, Blob]) -> msgspec.Raw:
    return msgspec.Raw(_encode([_externalize_block(raw, blobs) for raw in _array.decode(blocks)]))


def _externalize_block(raw: msgspec.Raw, blobs: dict[str, Blob]) -> msgspec.Raw:
    seen = _block.decode(raw)
    if seen.type != "image" or seen.source != "inline":
        return raw
    taken = blob(str(seen.media_type), str(seen.data))
    blobs[taken.blob_id] = taken
    fields = _object.decode(raw)
    del fields["data"]
    fields["source"] = msgspec.Raw(b'"blob"')
    fields["blob_id"] = msgspec.Raw(_encode(taken.blob_id))
    return msgspec.Raw(_encode(fields))


async def with_inline_images(item: Input, blobs: BlobStore) -> Input:
    """Put the images of a live input back in place of their references.

    Raises:
        BlobMissingError: An image is not there: the input cannot be run as it was sent.
        BlobStoreUnavailableError: The same call may work later.
    """
    return await _with_images(item, blobs.get)


async def with_images_or_notes(item: Input, blobs: BlobStore) -> Input:
    """Put the images of a past input back; say of those that are gone that they are.

    Raises:
        BlobStoreUnavailableError: The same call may work later.
    """

    async def get_or_none(blob_id: str) -> Blob | None:
        try:
            return await blobs.get(blob_id)
        except BlobMissingError:
            return None

    return await _with_images(item, get_or_none)


async def _with_images(item: Input, get: Callable[[str], Awaitable[Blob | None]]) -> Input:
    match item:
        case Prompt() | Peer() | FlowStep() | ExternalEvent():
            blocks = item.blocks or ()
        case _:
            return item
    ids = _referenced(blocks)
    if not ids:
        return item
    found = dict(zip(ids, await asyncio.gather(*map(get, ids)), strict=True))
    return msgspec.structs.replace(item, blocks=tuple(_inlined(block, found) for block in blocks))


def _referenced(blocks: Iterable[Block]) -> list[str]:
    names = (block.blob_id for block in blocks if isinstance(block, Image))
    return list(dict.fromkeys(name for name in names if name is not None))


def _inlined(block: Block, found: Mapping[str, Blob | None]) -> Block:
    if not isinstance(block, Image) or block.blob_id is None:
        return block
    fetched = found[block.blob_id]
    if fetched is None:
        return Text(f"[image unavailable: {block.blob_id}]")
    return Image(block.media_type, "inline", data=base64_of(fetched.data))
