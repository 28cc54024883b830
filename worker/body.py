"""Bodies: what a message says, made readable, its secrets masked."""

from __future__ import annotations

import msgspec

from worker.masking import masked_fields, masked_text


def pretty(body: bytes) -> str:
    """Show a body: JSON over several lines, anything else as text; never a secret by its name."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return masked_text(body.decode(errors="backslashreplace"))
    shown = msgspec.json.encode(masked_fields(told))
    return msgspec.json.format(shown, indent=2).decode()
