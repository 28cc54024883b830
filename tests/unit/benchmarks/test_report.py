"""What benchmarks compute: medians and ratios, and the tables of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page, report
from benchmarks.report import Report, beside, recorded, show
from benchmarks.sizes import FULL

RATES = {"bare": [100.0, 90.0, 1000.0], "ours": [50.0, 60.0, 10.0]}


def test_a_contender_is_judged_by_its_median_round_and_its_ratio_to_the_base() -> None:
    assert beside(RATES, 100.0, "ratio") == [
        {"what": "bare", "messages/s": 100, "ratio": 1.0, "from to": "90 to 1000"},
        {"what": "ours", "messages/s": 50, "ratio": 0.5, "from to": "10 to 60"},
    ]


def test_sizes_are_changed_only_where_it_was_asked_for() -> None:
    assert FULL.told(None, None) == FULL
    assert FULL.told(5, None).times == 5
    assert FULL.told(None, 7).messages == 7


def test_a_run_that_is_recorded_is_what_the_documentation_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "RECORD", tmp_path / "record")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    found = Report("speed", "Speed", [{"what": "ours", "per second": 5}], ("on a table",))
    show(found, record=True)
    assert "on a table" in capsys.readouterr().out
    assert recorded("speed") == found
    assert len(list((tmp_path / "results").iterdir())) == 1
    filled = page.filled("before\n<!-- run: speed -->\nold\n<!-- end -->\nafter\n")
    assert "old" not in filled
    assert "| what | per second |\n|---|---|\n| ours | 5 |\n\n- on a table\n" in filled
    assert filled == page.filled(filled)


def test_the_page_of_benchmarks_shows_the_runs_that_are_kept() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text) == text
    kept = {file.stem for file in report.RECORD.glob("*.json")}
    assert kept == {name for name in kept if f"<!-- run: {name} -->" in text}
