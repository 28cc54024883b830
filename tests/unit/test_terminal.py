"""Text from elsewhere is shown on a terminal, never obeyed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.terminal import inert, line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢字 🦡", "plain äöü 漢字 🦡"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b31m", "\\u009b31m"),
        ("over\rwrite\b", "over\\u000dwrite\\u0008"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("lone \ud800", "lone \\ud800"),
        ("a\tb\nc", "a\tb\nc"),
    ],
)
def test_what_steers_a_terminal_is_shown_by_its_code(text: str, shown: str) -> None:
    """Escapes, overwriting, text direction and invisible characters lose their power."""
    assert inert(text) == shown


@given(st.text())
def test_json_made_inert_means_the_same(text: str) -> None:
    """Programs read from inert JSON what was written."""
    assert json.loads(inert(json.dumps(text, ensure_ascii=False))) == text


@given(st.text())
def test_a_line_stays_a_line(text: str) -> None:
    """No text can add a row to a table or to the log."""
    assert len(line(text).splitlines()) <= 1
