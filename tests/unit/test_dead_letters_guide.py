"""The operator's guide says what its template says, and leaves no reason and no status out."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from worker.cli.dead_letters import app

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "dead-letters.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "scripts" / "bad-day.md").read_text(encoding="utf-8")


def test_all_that_was_written_stands_in_the_guide_in_its_order() -> None:
    """``python scripts/bad_day.py`` has been run since the template changed."""
    end = 0
    for piece in re.split(r"^\{\{.*\}\}\n", TEMPLATE, flags=re.MULTILINE):
        start = GUIDE.find(piece, end)
        assert start >= 0, piece
        end = start + len(piece)


def test_every_command_of_the_guide_exists_and_was_run() -> None:
    """Nothing is shown that cannot be typed."""
    shown = set(re.findall(r"^\$ meerkat-worker dead-letters ([a-z-]+)", GUIDE, re.MULTILINE))
    told = set(re.findall(r"^\{\{run: dead-letters ([a-z-]+)", TEMPLATE, re.MULTILINE))
    group = typer.main.get_command(app)
    assert shown == told
    assert shown <= set(getattr(group, "commands"))  # noqa: B009  # typer's base class is private


def test_every_reason_has_its_row_and_every_end_its_word() -> None:
    """A reader finds what stands in the table of letters."""
    for reason in DeadLetterReason:
        assert f"\n| `{reason}` |" in GUIDE
    for status in DeadLetterStatus:
        assert status in GUIDE


def test_every_picture_is_there_small_and_described() -> None:
    """They are taken on the same day as the rest, and light enough to be committed."""
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", GUIDE)
    assert len(pictures) == TEMPLATE.count("{{picture:") > 0
    for described, path in pictures:
        assert described
        assert 0 < (ROOT / "docs" / path).stat().st_size < 150_000
