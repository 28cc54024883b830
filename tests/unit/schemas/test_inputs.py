"""Inputs: one canonical form, the kind that policy looks at, the digest that tells conflicts."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from schemas.content import Image, Text
from schemas.inputs import (
    Continuation,
    ExternalEvent,
    HandlingMode,
    Input,
    InputKind,
    Operation,
    handling_hint,
    kind_of,
    payload_digest,
)
from tests.unit.schemas.examples import (
    BLOB,
    HEADER,
    ID,
    INLINE,
    OTHER,
    PNG,
    TEXT,
    Body,
    continuation,
    decoded,
    external_event,
    flow_step,
    header,
    operation,
    peer,
    prompt,
)


def an_input(body: Body) -> Input:
    item = decoded("input", body)
    assert isinstance(item, Input)
    return item


def request(convention_type: str, **more: object) -> Body:
    return peer(convention={"convention_type": convention_type, "request_id": "r"} | more)


# --- the canonical form --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (continuation(input_type="system_generated", request_id="r"), continuation(request_id="r")),
        (
            operation(type="started", id="1", kind="k") | {"input_type": "projected"},
            operation(type="started", id="1", kind="k"),
        ),
    ],
    ids=["system_generated", "projected"],
)
def test_older_names_become_the_newer_ones(old: Body, new: Body) -> None:
    assert an_input(old) == an_input(new)
    assert type(an_input(old)) in (Continuation, Operation)


def test_legacy_blocks_move_out_of_an_events_payload() -> None:
    event = an_input(external_event(payload={"n": 1, "blocks": [TEXT, INLINE]}))
    assert isinstance(event, ExternalEvent)
    assert event.payload == {"n": 1}
    assert event.blocks == (Text("see:"), Image("image/png", "inline", data=PNG))
    assert event == an_input(external_event(payload={"n": 1}, blocks=[TEXT, INLINE]))


@pytest.mark.parametrize("payload", [None, [1], "blocks", {"blocks": "see", "n": 1}], ids=str)
def test_a_payload_beside_blocks_is_left_alone(payload: object) -> None:
    event = an_input(external_event(payload=payload, blocks=[]))
    assert isinstance(event, ExternalEvent)
    assert event.payload == payload
    assert event.blocks == ()


def test_what_is_canonical_already_stays() -> None:
    """A stored input is decoded again at each run: nothing may drift."""
    for body in (prompt(blocks=[TEXT]), peer(), flow_step(), external_event(), continuation()):
        item = an_input(body)
        assert an_input(msgspec.to_builtins(item)) == item


# --- kind and hint -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (prompt(), InputKind.PROMPT),
        (peer(), InputKind.PEER_MESSAGE),
        (peer(convention=None), InputKind.PEER_MESSAGE),
        (peer(convention={"convention_type": "message"}), InputKind.PEER_MESSAGE),
        (request("request", intent="i"), InputKind.PEER_REQUEST),
        (request("response_progress", phase="accepted"), InputKind.PEER_RESPONSE_PROGRESS),
        (request("response_terminal", status="failed"), InputKind.PEER_RESPONSE_TERMINAL),
        (flow_step(), InputKind.FLOW_STEP),
        (external_event(), InputKind.EXTERNAL_EVENT),
        (continuation(), InputKind.CONTINUATION),
        (operation(type="cancelled", id="1"), InputKind.OPERATION),
    ],
    ids=str,
)
def test_the_kind_follows_the_input_and_a_peers_convention(body: Body, kind: InputKind) -> None:
    assert kind_of(an_input(body)) is kind


STEER = {"handling_mode": "steer"}


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (prompt(), None),
        (prompt(turn_metadata={}), None),
        (prompt(turn_metadata=STEER), HandlingMode.STEER),
        (flow_step(), None),
        (flow_step(turn_metadata=STEER), HandlingMode.STEER),
        (external_event(), HandlingMode.QUEUE),
        (external_event(**STEER), HandlingMode.STEER),
        (continuation(), HandlingMode.QUEUE),
        (continuation(**STEER), HandlingMode.STEER),
        (peer(), None),
        (peer(**STEER), None),
        (operation(type="cancelled", id="1"), None),
    ],
    ids=str,
)
def test_the_hint_is_where_a_kind_keeps_it(body: Body, hint: HandlingMode | None) -> None:
    assert handling_hint(an_input(body)) is hint


# --- the digest ----------------------------------------------------------------------------------


def digest(body: Body) -> str:
    return payload_digest(an_input(body))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (prompt(), header(timestamp="2020-01-01T00:00:00Z")),
        (prompt(), prompt(unknown=1)),
        (prompt(), header(unknown=1)),
        (prompt(), header(durability="durable", visibility={})),
        (prompt(), prompt(blocks=None)),
        (prompt(), dict(reversed(prompt().items()))),
        (external_event(payload={"a": 1, "b": 2}), external_event(payload={"b": 2, "a": 1})),
        (continuation(), continuation(input_type="system_generated")),
        (
            external_event(payload={"blocks": [TEXT]}),
            external_event(payload={}, blocks=[TEXT]),
        ),
        (external_event(), external_event(handling_mode="queue")),
    ],
    ids=str,
)
def test_what_asks_for_the_same_has_the_same_digest(one: Body, other: Body) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    "other",
    [
        prompt(text="ho"),
        prompt(blocks=[TEXT]),
        prompt(turn_metadata=STEER),
        header(source={"type": "system"}),
        header(durability="ephemeral"),
        header(idempotency_key="k"),
        header(supersession_key="k"),
        header(correlation_id="c"),
        header(visibility={"operator_eligible": False}),
        peer(),
        flow_step(),
    ],
    ids=str,
)
def test_what_asks_for_something_else_has_another_digest(other: Body) -> None:
    assert digest(prompt()) != digest(other)


def test_payload_values_of_every_size_have_a_digest() -> None:
    huge: Any = 10**40
    assert digest(external_event(payload=huge)) != digest(external_event(payload=huge + 1))


def test_a_digest_is_over_sorted_json_without_timestamp_and_defaults() -> None:
    """Digests are stored: a release that computed them otherwise would see conflicts everywhere."""
    said = (
        b'{"header":{"id":"%s","source":{"type":"operator"}},"input_type":"prompt","text":"hi"}'
    ) % ID.encode()
    assert digest(prompt()) == hashlib.sha256(said).hexdigest()


def test_an_input_with_its_image_inline_is_not_the_same_as_with_a_reference() -> None:
    """They may hold the same image, but the worker does not look it up to find out."""
    reference = {"type": "image", "media_type": "image/png", "source": "blob", "blob_id": BLOB}
    assert digest(prompt(blocks=[INLINE])) != digest(prompt(blocks=[reference]))


def test_the_moment_of_receipt_is_filled_in_for_each_kind() -> None:
    for body in (
        prompt(),
        peer(),
        flow_step(),
        external_event(),
        continuation(),
        operation(type="cancelled", id="1"),
    ):
        assert an_input(body).header.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert an_input(body | {"header": HEADER | {"id": ID}}).header.id != OTHER
