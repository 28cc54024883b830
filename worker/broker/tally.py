"""Tally: what consumers have done and met, counted for the metrics."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field


class Ended(enum.Enum):
    """Why a consumer ended."""

    RELEASED = "released"
    """We wanted it to."""
    RETURNED = "returned"
    """A delivery was given back."""
    CANCELLED = "cancelled"
    """The broker cancelled it: the queue is gone, or its node."""
    LOST = "lost"
    """The channel or the connection died."""


@dataclass(slots=True)
class Tally:
    """Counts since the start, over all consumers that share it.

    Attributes:
        taken: Deliveries handed out.
        lost_acks: Acks that could not be sent, because the channel had died: the messages come
            again, and are recognised as duplicates.
        ended: Consumers by why they ended.
        repaired: Queues that were found broken, deleted and declared anew.
    """

    taken: int = 0
    lost_acks: int = 0
    ended: Counter[Ended] = field(default_factory=Counter)
    repaired: int = 0
