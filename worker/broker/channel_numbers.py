"""Channel numbers: which one the next channel of a connection takes."""

from __future__ import annotations

from collections.abc import Container


class ChannelNumbers:
    """Goes round from 1 to ``most``, so that a number rests as long as it can before its next use.

    aiormq takes one above the highest, which under churn passes the broker's limit. Nor may a
    number be used again at once: aiormq frees it when the broker closes a channel, but confirms
    that only later, and not at all if its write buffer is full just then. A channel that is opened
    too early costs the connection. So numbers that the broker closed are ``spoilt``: left out for
    as long as there are others.
    """

    __slots__ = ("_last", "_most", "_spoilt")

    def __init__(self, most: int) -> None:
        self._most = most
        self._last = 0
        self._spoilt: set[int] = set()

    def take(self, in_use: Container[int]) -> int | None:
        """Return the next number; None if all are in use."""
        number = self._next(in_use, self._spoilt) or self._next(in_use, ())
        if number is not None:
            self._last = number
            self._spoilt.discard(number)
        return number

    def spoil(self, number: int) -> None:
        """Say that the broker closed the channel of this number."""
        self._spoilt.add(number)

    def _next(self, in_use: Container[int], spoilt: Container[int]) -> int | None:
        for step in range(self._most):
            number = (self._last + step) % self._most + 1
            if number not in in_use and number not in spoilt:
                return number
        return None
