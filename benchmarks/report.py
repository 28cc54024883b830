"""A report: a benchmark's rows as a table for people and, beside it, as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from worker.cli.output import table, text

RESULTS: Final = Path(__file__).parent / "results"
"""Every run's; not kept in git."""

RECORD: Final = Path(__file__).parent / "record"
"""The runs that ``docs/benchmarks.md`` shows; kept in git."""

Rows = list[dict[str, Any]]


class Report(msgspec.Struct, frozen=True):
    """What one benchmark found.

    Attributes:
        rows: A dictionary each, all with the same keys: the columns.
        notes: What a reader must know to judge the rows: sizes and settings.
    """

    name: str
    title: str
    rows: Rows
    notes: tuple[str, ...] = ()
    at: str = msgspec.field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    python: str = platform.python_version()
    cores: int = os.cpu_count() or 0

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows[0])

    @property
    def cells(self) -> list[list[Any]]:
        """The cells, row by row."""
        return [list(row.values()) for row in self.rows]


def show(report: Report, *, record: bool = False) -> None:
    """Print a report and keep it; ``record`` makes it the one that the documentation shows."""
    table(report.title, report.columns, report.cells)
    for note in report.notes:
        text(f"  {note}")
    _keep(report, RESULTS / f"{report.name}-{report.at}.json")
    if record:
        _keep(report, RECORD / f"{report.name}.json")


def recorded(name: str) -> Report | None:
    """Read the run of a benchmark that the documentation shows, if there is one."""
    file = RECORD / f"{name}.json"
    return msgspec.json.decode(file.read_bytes(), type=Report) if file.exists() else None


def _keep(report: Report, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def beside(rates: Mapping[str, Sequence[float]], base: float, ratio: str) -> Rows:
    """Set contenders beside each other: medians, their ratio to a base, and how far they spread.

    Args:
        rates: The rounds of each, per second.
        base: The rate that counts as 1.
        ratio: What the column of ratios is called.
    """
    return [
        {
            "what": name,
            "messages/s": round(median(found)),
            ratio: round(median(found) / base, 2),
            "from to": spread(found),
        }
        for name, found in rates.items()
    ]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Say the least and the most of some values."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"
