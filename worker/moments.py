"""Moments, as people write them: so long ago, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str, now: datetime) -> datetime:
    """Read ``90s``, ``5m``, ``2h``, ``7d`` ago, or an RFC 3339 moment, UTC if it names no zone.

    Raises:
        ValueError: It is neither. The message says what was expected, not what was found.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        expected = "expected 90s, 5m, 2h, 7d or a moment such as 2026-01-31T12:00:00Z"
        raise ValueError(expected) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
