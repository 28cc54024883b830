"""Diagrams: the page shows the tables that the driver has."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker import diagrams
from worker.driver.diagram import drawings, redrawn


def test_the_page_is_fresh() -> None:
    """Whoever changes a table runs `make docs`."""
    assert not diagrams.is_stale(diagrams.PAGE)
    assert diagrams.main(["--check"]) == 0


def test_a_page_that_shows_other_tables_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check says which, and writing mends it; prose stays."""
    fresh = diagrams.PAGE.read_text(encoding="utf-8")
    page = tmp_path / "driver.md"
    page.write_text(fresh.replace("→ queued", "→ nowhere"), encoding="utf-8")
    monkeypatch.setattr(diagrams, "PAGE", page)
    assert diagrams.main(["--check"]) == 1
    assert capsys.readouterr().err == f"stale: {page}; run make docs\n"
    assert diagrams.main(["write"]) == 0
    assert page.read_text(encoding="utf-8") == fresh


@pytest.mark.parametrize("marker", ["<!-- drawn: policy table -->", "<!-- end -->"])
def test_a_page_without_its_markers_is_not_written(marker: str) -> None:
    """A drawing with no place to go is an error, not a silence."""
    page = diagrams.PAGE.read_text(encoding="utf-8").replace(marker, "")
    with pytest.raises(ValueError, match="expected <!-- drawn: "):
        redrawn(page)


def test_every_state_and_row_is_drawn() -> None:
    """Nothing of the tables is left out."""
    drawn = drawings()
    assert drawn["input grid"].count("\n") == 14
    assert drawn["runtime grid"].count("\n") == 17
    assert drawn["policy table"].count("\n") == 13
    assert "running --> retired: run_completed" in drawn["runtime diagram"]
