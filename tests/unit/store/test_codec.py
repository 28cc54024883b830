"""The codec: what is unstorable is made harmless, what is unreadable is named and not quoted."""

import msgspec
import pytest

from store import codec
from store.codec import READ_ERRORS
from tests.support.store import FIFO, NOW, an_input


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("nul\x00nul", "nul\ufffdnul"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\N{FAMILY}\u200d\N{SNOWMAN}", "\N{FAMILY}\u200d\N{SNOWMAN}"),
    ],
)
def test_free_text_is_stored_as_far_as_databases_can(text: str, stored: str) -> None:
    assert codec.harmless(text) == stored


def _row(**changed: object) -> dict[str, object]:
    record = msgspec.to_builtins(an_input())
    history, policy = msgspec.json.encode(record["history"]), msgspec.json.encode(record["policy"])
    texts = {"history": history.decode(), "policy": policy.decode(), "outcome": None, "reply": None}
    return {**record, **texts, **changed}


def test_a_row_reads_as_the_record_it_was() -> None:
    assert codec.read_input(_row()).policy == FIFO


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"state": "sleeping-secret"}, "$.state"),
        ({"input_id": "secret"}, "$.input_id"),
        ({"created_at": "yesterday-secret"}, "$.created_at"),
        ({"attempt_count": "secret"}, "$.attempt_count"),
        ({"policy": "{secret"}, "$.policy"),
        ({"policy": '{"apply_mode":"secret"}'}, "$.policy"),
        ({"history": '[{"at":"secret"}]'}, "$.history[0]"),
        ({"history": b"\xff secret"}, "$.history"),
        ({"history": None}, "$.history"),
        ({"reply": 7}, "$.reply"),
        ({"outcome": '{"outcome_type":"secret"}'}, "$.outcome"),
    ],
)
def test_a_damaged_row_is_an_error_that_names_the_field_and_never_the_value(
    changed: dict[str, object], path: str
) -> None:
    with pytest.raises(READ_ERRORS) as caught:
        codec.read_input(_row(**changed))
    fault = codec.fault(caught.value)
    assert fault.startswith(path)
    assert "secret" not in fault


def test_inputs_with_equal_policies_share_one_decision() -> None:
    first, second = codec.read_input(_row()), codec.read_input(_row())
    assert first.policy is second.policy


def test_a_raw_row_is_json_whatever_is_in_it() -> None:
    raw = codec.raw_row({"a": b"\xff", "b": "\ud800\x00", "c": NOW, "d": None, "e": 1.5, "f": [1]})
    assert set(msgspec.json.decode(raw)) == {"a", "b", "c", "d", "e", "f"}


def test_blobs_are_named_once_each() -> None:
    blob_id = f"sha256:{'a' * 64}"
    assert codec.blobs_in(f'["{blob_id}","{blob_id}"]'.encode()) == [blob_id]
    assert codec.blobs_in(b'{"text":"sha256:no"}') == []
