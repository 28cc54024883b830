"""What is exported comes back the same."""

from __future__ import annotations

import msgspec
import pytest

from schemas.errors import MalformedError
from tests.support.store import NOW
from tests.unit.dead_letters.test_messages import a_stored_letter
from worker.dead_letters.redrive import CHUNK_BYTES, chunks
from worker.dead_letters.transfer import Exported, parsed


@pytest.mark.parametrize(
    "body", [b"", b'{"a": 1}', b"\xff\x00\x1b[2J", "grün \u202e\x1b".encode(), bytes(1024 * 1024)]
)
def test_a_letter_comes_back_with_every_byte_of_its_body(body: bytes) -> None:
    letter = a_stored_letter()
    back = parsed(msgspec.json.encode(Exported.of(letter, body)))
    assert back.body == body
    assert (back.id, back.at, back.reason) == (letter.id, NOW, letter.reason)
    assert (back.fingerprint, back.properties) == (letter.fingerprint, letter.properties)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"reason": "bored"}, r"\$\.reason"),
        ({"runtime_id": "no such name!"}, r"\$\.runtime_id"),
        ({"body": "no base64!", "body_base64": True}, r"\$\.body: expected base64"),
        ({"id": 7}, r"\$\.id"),
    ],
)
def test_a_line_that_says_otherwise_is_named_by_its_field(
    changes: dict[str, object], complaint: str
) -> None:
    line = {**msgspec.to_builtins(Exported.of(a_stored_letter(), b"")), **changes}
    with pytest.raises(MalformedError, match=complaint):
        parsed(msgspec.json.encode(line))


def test_a_line_that_is_no_json_is_refused() -> None:
    with pytest.raises(MalformedError, match="JSON"):
        parsed(b"{")


def test_letters_are_cut_into_pieces_by_number_and_by_bytes() -> None:
    small = [(a_stored_letter().id, 10) for _ in range(5)]
    large = [(a_stored_letter().id, CHUNK_BYTES) for _ in range(2)]
    assert [len(chunk) for chunk in chunks(small, 2)] == [2, 2, 1]
    assert [len(chunk) for chunk in chunks([*small, *large, *small], 100)] == [5, 1, 1, 5]
    assert list(chunks([], 2)) == []
