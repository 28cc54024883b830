"""Edit: a dead letter redriven with another body; who changed what, and why, is kept."""

from __future__ import annotations

import difflib
from datetime import datetime
from hashlib import sha256
from typing import Final

from schemas.envelope import decode
from schemas.errors import MalformedError
from store.dead_letters import Letter
from store.letter_acts import Edit
from worker.body import pretty
from worker.dead_letters.message import envelope_of

MOST_LINES: Final = 4000
"""Lines on either side beyond which finding the difference would take seconds."""


class EditError(ValueError):
    """A body that cannot take the place of a letter's; says what is wrong with it."""


def edited(
    letter: Letter, before: bytes, after: bytes, *, now: datetime, max_message_bytes: int
) -> Edit:
    """Make an edit of a letter.

    Raises:
        EditError: Nothing is changed, or the new body is malformed, or names another id than the
            message: it would only die again. Only the messages of runtimes are looked into.
    """
    if before == after:
        raise EditError("the body is as it was")
    if letter.runtime_id is not None:
        try:
            decode(envelope_of(letter, after), received_at=now, max_bytes=max_message_bytes)
        except MalformedError as fault:
            raise EditError(f"it would die again: {fault}") from fault
    return Edit(after, difference(before, after), sha256(before).hexdigest())


def difference(before: bytes, after: bytes) -> str:
    """Show what is different, line by line; secrets are masked on both sides."""
    old, new = pretty(before).splitlines(), pretty(after).splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        return f"too large to compare: {len(before)} bytes before, {len(after)} after"
    lines = list(difflib.unified_diff(old, new, "before", "after", lineterm=""))
    if not lines:
        return "different in layout, or in what is masked, only"
    return "\n".join(lines)
