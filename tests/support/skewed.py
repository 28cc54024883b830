"""A command whose clock can be set: ``python -m tests.support.skewed FILE run``.

The file holds the seconds by which its clock is ahead; it is read each time that the clock is.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from worker import clock


def _set_by(file: Path) -> None:
    right = clock.now

    def skewed() -> datetime:
        return right() + timedelta(seconds=float(file.read_text(encoding="ascii")))

    clock.now = skewed


if __name__ == "__main__":
    _set_by(Path(sys.argv.pop(1)))
    from worker.cli import main  # whatever takes the clock by its name must find the skewed one

    main()
