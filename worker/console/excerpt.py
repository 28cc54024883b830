"""Excerpts: as much of a long text as a page can bear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 64 * 1024
"""Characters that are shown."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a text, and how many characters are left out."""

    text: str
    left_out: int

    @classmethod
    def of(cls, text: str) -> Excerpt:
        """Cut a text."""
        return cls(text[:MOST], max(0, len(text) - MOST))
