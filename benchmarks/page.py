"""``python -m benchmarks.page [--check]``: the tables of ``docs/benchmarks.md``, out of kept runs.

A table stands between ``<!-- run: NAME -->`` and ``<!-- end -->`` and comes from
``benchmarks/record/NAME.json``, which ``--record`` writes. ``--check`` only says whether the page
is stale (exit code 1).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.report import Report, recorded

PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_RUN: Final = re.compile(r"(<!-- run: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """Put each run between the markers that name it."""
    return _RUN.sub(lambda found: f"{found[1]}{_shown(recorded(found[2]))}{found[3]}", page)


def _shown(report: Report | None) -> str:
    return "No run has been kept yet.\n" if report is None else markdown(report)


def markdown(report: Report) -> str:
    """Show a report as a table, with its notes and what it ran on below."""
    lines = [
        _row(report.columns),
        f"|{'---|' * len(report.columns)}",
        *(_row(cells) for cells in report.cells),
        "",
        *(f"- {note}" for note in report.notes),
        f"- {_day(report.at)}, {report.cores} cores, Python {report.python}.",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _day(at: str) -> str:
    return f"{datetime.strptime(at, '%Y%m%dT%H%M%S%z').date():%Y-%m-%d}"


def main(arguments: Sequence[str]) -> int:
    """Write the page again, or only check it."""
    there = PAGE.read_text(encoding="utf-8")
    made = filled(there)
    if "--check" in arguments:
        if made != there:
            sys.stderr.write(f"stale: {PAGE}; run make docs\n")
        return int(made != there)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
