"""The terminal: text that came from elsewhere is shown, never obeyed."""

from __future__ import annotations

import re
from typing import Final

_ACTIVE: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1: escapes begin here
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # text direction, invisible
    "\ud800-\udfff"  # lone surrogates cannot be written out
    "]"
)


def inert(text: str) -> str:
    r"""Show control characters, terminal escapes and text-direction marks as ``\u001b``.

    Tabs and newlines stay; ``line`` takes those too. Within JSON the result means the same as
    before: such characters occur in its strings alone, and there this is how they are escaped.
    """
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def line(text: str) -> str:
    """Make text inert and keep it on one line."""
    return inert(text).replace("\n", "\\n").replace("\t", "\\t")
