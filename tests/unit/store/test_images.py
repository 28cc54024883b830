"""Images leave an input before it is stored, and come back for who reads it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.content import Image, Text, blob
from schemas.envelope import Envelope, InputMessage, decode, decode_stored_input
from schemas.inputs import Input, Prompt
from store.blobs import MemoryBlobStore
from store.errors import BlobMissingError
from store.images import externalize, with_images_or_notes, with_inline_images

ID = "0190b6b0-0000-7000-8000-000000000001"
PNG = base64.b64encode(bytes(range(200))).decode()
GIF = base64.b64encode(b"GIF89a").decode()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def image(data: str = PNG, media_type: str = "image/png", **more: object) -> dict[str, object]:
    return {"type": "image", "media_type": media_type, "source": "inline", "data": data, **more}


def reference(data: str = PNG, media_type: str = "image/png", **more: object) -> dict[str, object]:
    name = blob(media_type, data).blob_id
    return {"type": "image", "media_type": media_type, "source": "blob", "blob_id": name, **more}


def an_input(input_type: str, **fields: object) -> dict[str, Any]:
    required: dict[str, dict[str, object]] = {
        "prompt": {"text": "look"},
        "peer": {"body": "look"},
        "flow_step": {"step_id": "1", "instructions": "look"},
        "external_event": {"event_type": "seen", "payload": {}},
        "continuation": {"reason": "go on"},
    }
    header = {"id": ID, "source": {"type": "operator"}}
    return {"input_type": input_type, "header": header, **required[input_type], **fields}


def dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def received(payload: bytes) -> Input:
    envelope = Envelope("agent", payload, message_id=ID, type="input")
    message = decode(envelope, received_at=NOW)
    assert isinstance(message, InputMessage)
    return message.input


@pytest.mark.parametrize("input_type", ["prompt", "peer", "flow_step", "external_event"])
def test_an_inline_image_becomes_a_reference_and_a_blob(input_type: str) -> None:
    text = {"type": "text", "text": "before"}
    taken = externalize(dumped(an_input(input_type, blocks=[text, image()])))
    assert json.loads(taken.payload) == an_input(input_type, blocks=[text, reference()])
    assert taken.blobs == (blob("image/png", PNG),)


def test_an_image_that_occurs_twice_is_one_blob() -> None:
    taken = externalize(dumped(an_input("prompt", blocks=[image(), image(GIF), image()])))
    assert json.loads(taken.payload)["blocks"] == [reference(), reference(GIF), reference()]
    assert [stored.data for stored in taken.blobs] == [
        base64.b64decode(PNG),
        base64.b64decode(GIF),
    ]


def test_what_the_contract_does_not_know_stays_byte_for_byte() -> None:
    """Numbers keep their digits, and blocks and inputs their unknown fields."""
    body = dumped(an_input("prompt", blocks=[image(alt="a cat")], later={"pi": 0}))
    body = body.replace(b'{"pi": 0}', b'{"pi": 3.14000, "n": 12345678901234567890123}')
    taken = externalize(body)
    assert b'{"pi": 3.14000, "n": 12345678901234567890123}' in taken.payload
    assert json.loads(taken.payload)["blocks"] == [reference(alt="a cat")]


@pytest.mark.parametrize(
    "body",
    [
        an_input("prompt"),
        an_input("prompt", blocks=None),
        an_input("prompt", blocks=[]),
        an_input("prompt", text='say "inline"'),
        an_input("prompt", text="inline", blocks=[{"type": "text", "text": "inline"}]),
        an_input("prompt", blocks=[reference()], tone="inline"),
        an_input("continuation", blocks=[image()]),
        an_input("external_event", payload={"of": "inline"}),
        an_input("external_event", payload=["inline"]),
        an_input("external_event", payload="inline"),
    ],
    ids=str,
)
def test_an_input_without_inline_images_is_given_back_itself(body: dict[str, Any]) -> None:
    payload = dumped(body)
    taken = externalize(payload)
    assert taken.payload is payload
    assert taken.blobs == ()


def test_legacy_blocks_in_an_events_payload_are_taken_too() -> None:
    body = an_input("external_event", payload={"n": 1, "blocks": [image()]})
    taken = externalize(dumped(body))
    assert json.loads(taken.payload)["payload"] == {"n": 1, "blocks": [reference()]}
    assert len(taken.blobs) == 1


def test_an_events_payload_is_left_alone_when_it_has_blocks_beside_it() -> None:
    body = an_input("external_event", payload={"blocks": [image()]}, blocks=[image(GIF)])
    taken = externalize(dumped(body))
    assert json.loads(taken.payload)["payload"] == {"blocks": [image()]}
    assert json.loads(taken.payload)["blocks"] == [reference(GIF)]


@pytest.mark.parametrize("input_type", ["prompt", "peer", "flow_step", "external_event"])
async def test_images_come_back_as_they_were_sent(input_type: str) -> None:
    text = {"type": "text", "text": "between"}
    sent = [image(), text, image(GIF, "image/gif"), image()]
    payload = dumped(an_input(input_type, blocks=sent))
    taken = externalize(payload)
    blobs = MemoryBlobStore()
    for stored in taken.blobs:
        await blobs.put(stored)
    stored_input = received(taken.payload)
    assert await with_inline_images(stored_input, blobs) == received(payload)
    assert await with_images_or_notes(stored_input, blobs) == received(payload)


@pytest.mark.parametrize(
    "body", [an_input("prompt", blocks=[image()]), an_input("continuation")], ids=str
)
async def test_an_input_without_references_asks_no_store(body: dict[str, Any]) -> None:
    item = received(dumped(body))
    assert await with_inline_images(item, MemoryBlobStore()) is item


async def test_a_live_input_whose_image_is_gone_is_an_error() -> None:
    item = decode_stored_input(dumped(an_input("prompt", blocks=[reference()])))
    with pytest.raises(BlobMissingError, match=blob("image/png", PNG).blob_id):
        await with_inline_images(item, MemoryBlobStore())


async def test_a_past_input_says_which_image_is_gone() -> None:
    blobs = MemoryBlobStore()
    await blobs.put(blob("image/png", GIF))
    body = an_input("prompt", blocks=[reference(), reference(GIF)])
    shown = await with_images_or_notes(received(dumped(body)), blobs)
    gone = blob("image/png", PNG).blob_id
    assert isinstance(shown, Prompt)
    assert shown.blocks == (
        Text(f"[image unavailable: {gone}]"),
        Image("image/png", "inline", data=GIF),
    )
