"""What a command shows is readable by people, or by programs, and steers no terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from schemas.lifecycle import InputState
from worker.cli.output import facts, json_lines, table, text

_HOSTILE = "\x1b[31m[bold]x[/bold]\u202e\r\n"


def test_a_table_shows_rows_and_nothing_of_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters, markup and line breaks in a cell are text."""
    table("letters", ("id", "detail"), [(UUID(int=1), _HOSTILE), (UUID(int=2), "plain")])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\r" not in said
    assert "[bold]x[/bold]" in said
    assert said.count("00000000-0000-0000-0000-00000000000") == 2
    assert "\\u001b[31m" in said


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show is said in words, not with an empty frame."""
    table("letters", ("id",), [])
    assert capsys.readouterr().out == "letters: none\n"


def test_values_are_shown_in_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Times in UTC, enums by their wire value, absent facts not at all."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, timezone(timedelta(hours=2)))
    facts(
        "input",
        {"at": moment, "state": InputState.QUEUED, "lane": None, "woken": True, "history": [1]},
    )
    said = capsys.readouterr().out
    assert "2026-01-02 01:04:05.678Z" in said
    assert "queued" in said
    assert "lane" not in said
    assert "yes" in said
    assert "[1]" in said


def test_json_is_one_object_a_line_and_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read back what was written, though no raw control character is in it."""
    values = [{"a": _HOSTILE + "\x9b"}, {"at": datetime(2026, 1, 1, tzinfo=UTC)}]
    json_lines(values)
    said = capsys.readouterr().out
    first, second = said.splitlines()
    assert json.loads(first) == values[0]
    assert json.loads(second) == {"at": "2026-01-01T00:00:00Z"}
    assert not any(character in said for character in "\x1b\x9b\u202e\r")


def test_long_text_is_not_broken_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output keeps a line a line."""
    text("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"
