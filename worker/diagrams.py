"""Diagrams in the documentation: ``python -m worker.diagrams write`` or ``--check``.

The text comes from the driver's tables; ``docs/driver.md`` holds it between markers, with prose
written by hand around it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from worker.driver.diagram import redrawn

PAGE: Final = Path(__file__).parent.parent / "docs" / "driver.md"


def is_stale(page: Path) -> bool:
    """Tell whether a page shows other tables than the driver has."""
    text = page.read_text(encoding="utf-8")
    return redrawn(text) != text


def main(arguments: Sequence[str]) -> int:
    """Redraw the page, or with ``--check`` only say whether it is stale (exit code 1)."""
    if "--check" in arguments:
        stale = is_stale(PAGE)
        sys.stderr.write(f"stale: {PAGE}; run make docs\n" if stale else "")
        return int(stale)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(redrawn(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
