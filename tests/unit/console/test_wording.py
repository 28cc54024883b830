"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import Markup

from schemas.lifecycle import RuntimeState
from worker.console import wording

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (90_000_000, "1,041 d 16 h"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert wording.span(seconds) == said


def test_a_moment_is_said_from_now_and_exactly() -> None:
    """The exact one is UTC, whatever zone it came in."""
    assert wording.away(NOW + timedelta(seconds=90), NOW) == "in 1 min"
    assert wording.away(NOW - timedelta(seconds=90), NOW) == "1 min ago"
    assert wording.stamp(NOW) == "2026-01-02 03:04:05 UTC"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (RuntimeState.IDLE, "idle"),
        (7, "7"),
        ("\x1b[2J\u202e", "\\u001b[2J\\u202e"),
    ],
)
def test_every_value_is_shown_inert(value: object, said: str) -> None:
    assert wording.shown(value) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 bytes"), (1, "1 byte"), (1536, "1.5 KiB"), (2**20, "1.0 MiB")]
)
def test_a_size_is_said_in_units_that_fit(count: int, said: str) -> None:
    assert wording.size(count) == said


def test_a_sentence_leads_to_the_letter_that_it_names_and_stays_harmless() -> None:
    letter = "01890a5d-ac96-774b-bcce-b302099a8057"
    made = wording.linked(f"It became dead letter {letter}. <b>\x1b")
    assert isinstance(made, Markup)
    assert made == (
        f'It became dead letter <a href="/dead-letters/{letter}">{letter}</a>. &lt;b&gt;\\u001b'
    )


def test_fields_are_masked_by_their_names() -> None:
    assert '"***"' in wording.fields({"password": "hunter2"})
