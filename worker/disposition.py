"""Dispositions: how a delivery ends. Every delivery ends in exactly one of these."""

from __future__ import annotations

import enum


class Disposition(enum.StrEnum):
    """What became of a delivery. All but the returned ones are acked, after the commit."""

    DONE = "done"
    DUPLICATE = "duplicate"
    STALE = "stale"
    REFUSED = "refused"
    DEAD_LETTER = "dead_letter"
    RETURNED_FENCED = "returned_fenced"
    RETURNED_UNAVAILABLE = "returned_unavailable"
    RETURNED_FAILED = "returned_failed"

    @property
    def is_ack(self) -> bool:
        """Whether the broker may forget the message."""
        return self not in _RETURNED


_RETURNED = frozenset(
    {
        Disposition.RETURNED_FENCED,
        Disposition.RETURNED_UNAVAILABLE,
        Disposition.RETURNED_FAILED,
    }
)
