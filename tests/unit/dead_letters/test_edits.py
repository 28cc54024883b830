"""An edit is refused if it would only die again, and its difference shows no secret."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.store import NOW
from tests.unit.dead_letters.test_messages import a_stored_letter
from worker.dead_letters.edit import EditError, difference, edited

ID = "5f0c6d4e-8f6e-7c3e-9a53-2b1f6f2f9c11"
LETTER = a_stored_letter(message_id=ID, properties={"message_id": ID, "type": "input"})


def prompt(**changes: object) -> bytes:
    header = {"id": ID, "source": {"type": "operator"}}
    return msgspec.json.encode({"input_type": "prompt", "header": header, "text": "hi", **changes})


def test_a_body_that_can_be_taken_is_an_edit() -> None:
    edit = edited(LETTER, prompt(text=7), prompt(), now=NOW, max_message_bytes=1000)
    assert edit.body == prompt()
    assert edit.diff.splitlines()[:2] == ["--- before", "+++ after"]
    assert '-  "text": 7' in edit.diff


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (prompt(text=7), "as it was"),
        (prompt(text=8), r"would die again: \$\.text"),
        (prompt(header={"id": ID[:-1] + "2", "source": {"type": "operator"}}), r"\$\.header\.id"),
        (prompt(text="x" * 1000), "at most 1000 bytes"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_body_that_would_die_again_is_refused(after: bytes, complaint: str) -> None:
    with pytest.raises(EditError, match=complaint):
        edited(LETTER, prompt(text=7), after, now=NOW, max_message_bytes=1000)


def test_the_message_of_no_runtime_is_not_looked_into() -> None:
    letter = a_stored_letter(runtime_id=None, source_queue="legacy")
    assert edited(letter, b"a", b"b", now=NOW, max_message_bytes=1).body == b"b"


def test_a_difference_masks_secrets_and_says_so_where_nothing_else_differs() -> None:
    shown = difference(b'{"password": "old-1", "n": 1}', b'{"password": "new-2", "n": 2}')
    assert "old-1" not in shown
    assert "new-2" not in shown
    assert '-  "n": 1' in shown
    assert difference(b'{"password": "a"}', b'{"password": "b"}').startswith("different in layout")


def test_bodies_of_a_million_lines_are_not_compared() -> None:
    lines = b"\n" * 1_000_000
    assert difference(lines, b"x") == "too large to compare: 1000000 bytes before, 1 after"
