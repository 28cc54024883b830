"""Backoff: how long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds that double from ``first`` to ``most``, each drawn from its upper half.

    The draw keeps a fleet from coming back in step; the lower bound keeps a lone process from
    spinning.
    """

    __slots__ = ("_first", "_most", "_next")

    def __init__(self, first: float = 0.2, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self) -> float:
        """Return the next delay."""
        ceiling = self._next
        self._next = min(self._most, ceiling * 2)
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311  # spreads load, guards nothing

    def reset(self) -> None:
        """Begin again with the first delay: the last try went well."""
        self._next = self._first
