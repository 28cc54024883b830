"""The terminal: text that came from elsewhere is shown, never obeyed."""

from __future__ import annotations

import re
from typing import Final

_ACTIVE: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1 (escapes begin here)
    "\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"  # bidi, invisible
    "\ud800-\udfff"  # lone surrogates cannot be written out
    "]"
)


def inert(text: str) -> str:
    """Show control characters, terminal escapes and text-direction marks by their code points.

    Tabs and newlines stay; ``line`` takes those too.
    """
    return _ACTIVE.sub(_code_point, text)


def line(text: str) -> str:
    """Make text inert and keep it on one line."""
    return inert(text).replace("\n", "\\n").replace("\t", "\\t")


def _code_point(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
