"""The small words: ids, blobs, states, codes, fingerprints."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from schemas.content import Blob, blob, blob_id, blob_of, is_intact
from schemas.dead_letters import DeadLetter, DeadLetterReason, fingerprint
from schemas.errors import MalformedError
from schemas.events import RuntimeEventEnvelope, event_code
from schemas.ids import runtime_id
from schemas.inputs import Durability, InputKind
from schemas.lifecycle import InputState, Lane, RunState, RuntimeState
from schemas.policy import (
    ApplyMode,
    ConsumePoint,
    DrainPolicy,
    InterruptPolicy,
    PolicyDecision,
    QueueMode,
    RoutingDisposition,
    WakeMode,
)
from schemas.records import InputRecord
from tests.unit.schemas.examples import GOOD, ID, decoded

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "7", "A.b_c:d-e", "a" * 128])
def test_a_runtime_id_is_letters_digits_and_four_signs(text: str) -> None:
    assert runtime_id(text) == text


@pytest.mark.parametrize("text", ["", ".a", "a b", "a/b", "a#", "ä", "a\n", "a" * 129])
def test_other_text_is_no_runtime_id_and_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a runtime id: 1 to 128") as caught:
        runtime_id(text)
    assert len(text) < 2 or text not in str(caught.value)


# --- blobs ---------------------------------------------------------------------------------------


def test_a_blob_id_is_over_media_type_zero_and_base64() -> None:
    expected = hashlib.sha256(b"image/png" + bytes(1) + b"aGk=").hexdigest()
    assert blob_id("image/png", "aGk=") == f"sha256:{expected}"


def test_a_blob_of_text_is_the_blob_of_its_bytes() -> None:
    assert blob("image/png", "aGk=") == blob_of("image/png", b"hi")


@pytest.mark.parametrize("text", ["aGk", "aG k=", "aGk=\n", "@@@@"])
def test_a_blob_is_made_of_base64_alone(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64|padding|data"):
        blob("image/png", text)


def test_a_blob_is_intact_while_type_and_bytes_are_what_the_id_names() -> None:
    whole = blob_of("image/png", b"hi")
    assert is_intact(whole)
    assert not is_intact(Blob(whole.blob_id, "image/gif", b"hi"))
    assert not is_intact(Blob(whole.blob_id, "image/png", b"ho"))


# --- states --------------------------------------------------------------------------------------


def test_four_input_states_two_runtime_states_and_three_run_states_are_final() -> None:
    assert [state.value for state in InputState if state.is_terminal] == [
        "consumed",
        "superseded",
        "coalesced",
        "abandoned",
    ]
    assert [state.value for state in RuntimeState if state.is_terminal] == ["stopped", "destroyed"]
    assert [state.value for state in RunState if state.is_ended] == [
        "completed",
        "failed",
        "cancelled",
    ]


# --- policy and position -------------------------------------------------------------------------


def decision(route: RoutingDisposition, queue: QueueMode = QueueMode.FIFO) -> PolicyDecision:
    return PolicyDecision(
        ApplyMode.STAGE_RUN_START,
        WakeMode.NONE,
        queue,
        ConsumePoint.ON_RUN_COMPLETE,
        InterruptPolicy.NONE,
        DrainPolicy.QUEUE_NEXT_TURN,
        route,
        record_transcript=True,
        emit_operator_content=True,
        policy_version=1,
    )


@pytest.mark.parametrize("route", RoutingDisposition)
def test_only_the_steer_route_leads_to_the_steer_lane(route: RoutingDisposition) -> None:
    steers = route is RoutingDisposition.STEER
    assert decision(route).lane is (Lane.STEER if steers else Lane.QUEUE)


def record(sequence: int, policy: PolicyDecision | None) -> InputRecord:
    return InputRecord(
        UUID(ID),
        sequence,
        InputKind.PROMPT,
        Durability.DURABLE,
        InputState.QUEUED,
        Lane.QUEUE,
        "0" * 64,
        NOW,
        NOW,
        policy=policy,
    )


def test_lanes_hold_admission_order_but_priority_stands_in_front_the_last_first() -> None:
    plain = decision(RoutingDisposition.QUEUE)
    urgent = decision(RoutingDisposition.QUEUE, QueueMode.PRIORITY)
    waiting = [record(1, plain), record(2, urgent), record(3, None), record(4, urgent)]
    in_lane = sorted(waiting, key=lambda each: each.position)
    assert [each.sequence for each in in_lane] == [4, 2, 1, 3]


# --- runtime events ------------------------------------------------------------------------------


def test_every_event_has_a_code_made_of_its_category_and_its_own() -> None:
    codes = []
    for body in GOOD["runtime_event"]:
        message = decoded("runtime_event", body)
        assert isinstance(message, RuntimeEventEnvelope)
        codes.append(event_code(message.event))
    assert codes == [
        *(
            f"input.{code}"
            for code in (
                "accepted",
                "deduplicated",
                "superseded",
                "coalesced",
                "queued",
                "staged",
                "applied",
                "consumed",
                "abandoned",
            )
        ),
        *(f"run.{code}" for code in ("started", "completed", "failed", "cancelled")),
        "runtime.state_changed",
        *(f"topology.runtime_{code}" for code in ("created", "retired", "recycled", "destroyed")),
    ]


# --- dead letters --------------------------------------------------------------------------------


def letter(detail: str, reason: DeadLetterReason = DeadLetterReason.MALFORMED) -> DeadLetter:
    return DeadLetter(UUID(ID), None, "q", None, None, {}, b"", reason, detail, NOW)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("input 1 of 7 failed", "input 23 of 9 failed"),
        (f"conflict with {ID}", "conflict with 0190B6B0-0000-7000-8000-00000000000A"),
        (f"blob sha256:{'a' * 64} is gone", f"blob sha256:{'0' * 64} is gone"),
        (f"digest {'ab' * 32}", f"digest {'0c' * 32}"),
        ("digest 30592151bff7 there", "digest accbbbd5c50c there"),
    ],
)
def test_letters_that_failed_alike_share_a_fingerprint(one: str, other: str) -> None:
    assert letter(one).fingerprint == letter(other).fingerprint


def test_letters_that_failed_otherwise_do_not() -> None:
    prints = {
        letter("$.header.id: expected uuid").fingerprint,
        letter("$.header.source: expected uuid").fingerprint,
        letter("$.header.id: expected uuid", DeadLetterReason.REJECTED).fingerprint,
    }
    assert len(prints) == 3
    assert fingerprint(DeadLetterReason.MALFORMED, "$.header.id: expected uuid") in prints


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "path", "problem"),
    [
        (msgspec.ValidationError("Expected `int`, got `str`"), "$", "expected int, got str"),
        (
            msgspec.ValidationError("Expected `int`, got `str` - at `$.a[0]`"),
            "$.a[0]",
            "expected int, got str",
        ),
        (
            msgspec.ValidationError("Object missing required field `b` - at `$.a`"),
            "$.a.b",
            "expected a value, got nothing",
        ),
        (msgspec.DecodeError("Input data was truncated"), "$", "expected JSON: input data was"),
    ],
    ids=str,
)
def test_the_decoders_errors_are_told_in_our_words(
    error: Exception, path: str, problem: str
) -> None:
    found = MalformedError.from_decoder(error)
    assert found.path == path
    assert found.problem.startswith(problem)
