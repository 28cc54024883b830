"""The envelope: what is wrong with a delivery before its body is looked at, and what is not."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from schemas.commands import Stop
from schemas.envelope import (
    CommandMessage,
    Envelope,
    InputMessage,
    RunEventMessage,
    decode,
    decode_registration,
    decode_stored_input,
)
from schemas.errors import MalformedError
from schemas.ids import RuntimeId
from schemas.inputs import Prompt
from schemas.runs import RunStarted
from tests.unit.schemas.examples import (
    FULL_HEADER,
    HEADER,
    ID,
    INLINE,
    NOW,
    OTHER,
    RUN,
    command,
    external_event,
    header,
    prompt,
    run_event,
)

BODY = msgspec.json.encode(prompt())


def delivery(body: bytes = BODY, **properties: Any) -> Envelope:  # noqa: ANN401
    in_order: dict[str, Any] = {"routing_key": "agent-7", "message_id": ID, "type": "input"}
    return Envelope(body=body, **(in_order | properties))


def taken(envelope: Envelope, **limits: int) -> bool:
    return isinstance(decode(envelope, received_at=NOW, **limits), InputMessage)


def fault(envelope: Envelope, **limits: int) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        decode(envelope, received_at=NOW, **limits)
    return caught.value


# --- good ----------------------------------------------------------------------------------------


def test_an_input_becomes_a_message_for_the_runtime_of_the_routing_key() -> None:
    message = decode(delivery(), received_at=NOW)
    assert isinstance(message, InputMessage)
    assert message.runtime_id == "agent-7"
    assert message.input.header.id == UUID(ID)
    assert message.input.header.timestamp == NOW


def test_a_timestamp_that_the_publisher_set_is_kept() -> None:
    message = decode(delivery(msgspec.json.encode(prompt(header=FULL_HEADER))), received_at=NOW)
    assert isinstance(message, InputMessage)
    stamped = message.input.header.timestamp
    assert stamped is not None
    assert stamped.isoformat() == "2026-01-02T03:04:05.678000+01:00"


def test_a_run_event_takes_its_id_from_the_message_id() -> None:
    body = msgspec.json.encode(run_event("run_started"))
    message = decode(delivery(body, type="run_event", message_id=OTHER), received_at=NOW)
    assert message == RunEventMessage(RuntimeId("agent-7"), UUID(OTHER), RunStarted(UUID(RUN)))


def test_a_command_becomes_a_message() -> None:
    body = msgspec.json.encode(command("stop"))
    message = decode(delivery(body, type="command"), received_at=NOW)
    assert message == CommandMessage(RuntimeId("agent-7"), Stop(UUID(ID)))


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "Application/JSON; charset=utf-8"]
)
def test_json_by_any_spelling_is_json(content_type: str | None) -> None:
    assert taken(delivery(content_type=content_type))


@pytest.mark.parametrize("headers", [{}, {"schema": 1}, {"schema": 1, "traceparent": "00-1"}])
def test_version_1_or_none_is_taken(headers: dict[str, Any]) -> None:
    assert taken(delivery(headers=headers))


@pytest.mark.parametrize("message_id", [ID.upper(), ID.replace("-", "")])
def test_the_same_id_in_another_spelling_is_the_same(message_id: str) -> None:
    assert taken(delivery(message_id=message_id))


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert taken(delivery(), max_bytes=len(BODY))


# --- bad -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "path", "problem"),
    [
        ({"routing_key": ""}, "routing_key", "expected a runtime id: 1 to 128"),
        ({"routing_key": "a b"}, "routing_key", "expected a runtime id"),
        ({"routing_key": "a\n"}, "routing_key", "expected a runtime id"),
        ({"routing_key": "../a"}, "routing_key", "expected a runtime id"),
        ({"routing_key": "a" * 129}, "routing_key", "expected a runtime id"),
        ({"message_id": None}, "properties.message_id", "expected uuid, got nothing"),
        ({"message_id": ""}, "properties.message_id", "expected uuid"),
        ({"message_id": "7"}, "properties.message_id", "expected uuid"),
        ({"message_id": f"{{{ID}}}"}, "properties.message_id", "expected uuid"),
        ({"message_id": OTHER}, "$.header.id", "expected the id in properties.message_id"),
        ({"type": None}, "properties.type", "expected input, run_event or command"),
        ({"type": "INPUT"}, "properties.type", "expected input, run_event or command"),
        ({"type": "completion"}, "properties.type", "expected input, run_event or command"),
        ({"content_type": "text/plain"}, "properties.content_type", "expected application/json"),
        ({"content_type": ""}, "properties.content_type", "expected application/json"),
        ({"headers": {"schema": 2}}, "properties.headers.schema", "expected 1"),
        ({"headers": {"schema": "1"}}, "properties.headers.schema", "expected 1"),
    ],
    ids=str,
)
def test_wrong_properties_are_named(properties: dict[str, Any], path: str, problem: str) -> None:
    found = fault(delivery(**properties))
    assert found.path == path
    assert found.problem.startswith(problem)


def test_a_commands_id_must_be_the_message_id() -> None:
    body = msgspec.json.encode(command("stop", command_id=OTHER))
    assert fault(delivery(body, type="command")).path == "$.command_id"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "expected JSON: input data was truncated"),
        (b"not json", "expected JSON: invalid"),
        (BODY[:-1], "expected JSON: input data was truncated"),
        (BODY + b"}", "expected JSON: trailing characters"),
        (b"\xef\xbb\xbf" + BODY, "expected JSON: invalid character (byte 0)"),
        (BODY[:-1] + b',"n":NaN}', "expected JSON: invalid character"),
        (BODY.replace(b"hi", b"\\ud800"), "expected JSON: "),
        (BODY.replace(b"hi", b"\xff"), "expected UTF-8, byte "),
        (BODY[:-1] + b',"unknown":"\xff"}', "expected UTF-8, byte "),
        (BODY[:-1] + b',"unknown":"\xed\xa0\x80"}', "expected UTF-8, byte "),
    ],
    ids=str,
)
def test_bytes_that_are_not_json_are_malformed_at_the_root(body: bytes, problem: str) -> None:
    found = fault(delivery(body))
    assert found.path == "$"
    assert found.problem.startswith(problem)


def test_a_body_over_the_limit_is_not_read() -> None:
    found = fault(delivery(b"x" * 11), max_bytes=10)
    assert str(found) == "$: expected at most 10 bytes, got 11"


def nested(depth: int) -> bytes:
    return BODY[:-1] + b',"deep":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_thirty_two_levels_are_taken_and_one_more_is_not() -> None:
    assert taken(delivery(nested(32)))
    assert str(fault(delivery(nested(33)))) == "$: expected at most 32 levels of nesting"


def test_brackets_in_strings_are_no_nesting() -> None:
    text = '[{"\\"[{' * 100
    message = decode(delivery(msgspec.json.encode(prompt(text=text))), received_at=NOW)
    assert isinstance(message, InputMessage)
    assert isinstance(message.input, Prompt)
    assert message.input.text == text


def test_many_shallow_levels_are_taken() -> None:
    body = msgspec.json.encode(external_event(payload=[{"a": [1]}] * 100))
    assert taken(delivery(body))


@pytest.mark.parametrize(
    "hostile",
    [b'[{"' + b'\\"{' * 300_000, b"[]" * 500_000, b'""[[[' * 200_000, b'{"' * 500_000],
    ids=lambda body: repr(body[:10]),
)
def test_no_body_within_the_limit_takes_long_to_refuse(hostile: bytes) -> None:
    """An escaped quote once made each look at the rest of the body start over."""
    started = time.perf_counter()
    assert fault(delivery(hostile)).path == "$"
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "body",
    [
        header(durability="hunter2"),
        header(durability="hunter2 - at `$.x`"),
        header(source={"type": "hunter2"}),
        header(id="hunter2"),
        header(timestamp="hunter2"),
        header(idempotency_key="hunter2\n"),
        prompt(text=["hunter2"]),
        prompt(blocks=[INLINE | {"data": "hunter2!"}]),
        prompt(blocks=[INLINE | {"media_type": "hunter2"}]),
        prompt(input_type="hunter2"),
    ],
    ids=str,
)
def test_no_error_quotes_a_value(body: dict[str, Any]) -> None:
    assert "hunter2" not in str(fault(delivery(msgspec.json.encode(body))))


def test_a_key_that_is_none_says_what_one_is() -> None:
    """In words: a pattern is no sentence."""
    body = msgspec.json.encode(header(idempotency_key="\n"))
    expected = "expected 1 to 255 characters, none of them a control character"
    assert str(fault(delivery(body))) == f"$.header.idempotency_key: {expected}"


@pytest.mark.parametrize("number", [b"9" * 4301, b"1e999"], ids=lambda text: repr(text[:5]))
def test_a_number_that_nothing_can_hold_is_malformed(number: bytes) -> None:
    body = msgspec.json.encode(external_event(payload={"n": 0})).replace(b'"n":0', b'"n":' + number)
    assert str(fault(delivery(body))) == "$.payload[...]: expected a number in range"


def test_legacy_blocks_that_are_no_blocks_are_named_where_they_stand() -> None:
    body = msgspec.json.encode(external_event(payload={"blocks": [INLINE, {"type": "video"}]}))
    assert fault(delivery(body)).path == "$.payload.blocks[1].type"


# --- other doors ---------------------------------------------------------------------------------


def test_a_registration_is_bounded_too() -> None:
    body = b'{"runtime_id":"agent-7"}'
    assert decode_registration(delivery(body)).runtime_id == "agent-7"
    with pytest.raises(MalformedError, match=r"\$: expected at most 10 bytes, got 24"):
        decode_registration(delivery(body), max_bytes=10)


def test_a_stored_input_decodes_to_what_was_received() -> None:
    message = decode(delivery(), received_at=NOW)
    assert isinstance(message, InputMessage)
    assert decode_stored_input(msgspec.json.encode(message.input)) == message.input


def test_a_stored_input_without_a_timestamp_still_decodes() -> None:
    found = decode_stored_input(BODY).header.timestamp
    assert found is not None
    assert found.timestamp() == 0


def test_a_stored_input_that_is_damaged_is_malformed() -> None:
    with pytest.raises(MalformedError, match=r"\$\.header\.source: expected a value"):
        decode_stored_input(msgspec.json.encode(prompt(header={"id": HEADER["id"]})))
