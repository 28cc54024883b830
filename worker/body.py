"""Bodies: what a message says, made readable, its secrets masked."""

from __future__ import annotations

import msgspec

from worker.masking import masked_fields, masked_text
from worker.terminal import inert


def pretty(body: bytes) -> str:
    """Show a body: JSON over several lines, anything else as text; never a secret by its name."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return masked_text(body.decode(errors="backslashreplace"))
    shown = msgspec.json.encode(masked_fields(told))
    return msgspec.json.format(shown, indent=2).decode()


def editable(body: bytes) -> str | None:
    """Show a body as a person may change it: JSON over several lines, secrets as they are.

    None for one that would not be the same afterwards: it is no text, or holds characters that a
    form changes or nobody sees. In JSON those are written as escapes, which mean the same.
    """
    try:
        content = body.decode()
    except UnicodeDecodeError:
        return None
    try:
        return inert(msgspec.json.format(content, indent=2))
    except (msgspec.DecodeError, RecursionError):
        is_plain = inert(content) == content and "\r" not in content
        return content if is_plain else None
