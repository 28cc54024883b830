"""The lease of a run: how long the executor may believe that the run is still its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from worker.broker.backoff import Backoff
from worker.execution.errors import LeaseLostError

_T = TypeVar("_T")


class Lease:
    """A deadline that every confirmed sign of life moves on.

    It counts from the moment at which a sign was *sent*. The worker counts from the moment at which
    it takes the sign, which is later; so the executor never believes longer than the worker does.
    """

    __slots__ = ("_clock", "_until", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._until = clock() + seconds

    @property
    def remaining(self) -> float:
        """Seconds until the lease passes; 0 once it has."""
        return max(0.0, self._until - self._clock())

    async def renew(self, sign: Callable[[], Awaitable[None]]) -> None:
        """Give a sign of life; confirmed, it moves the lease on."""
        sent_at = self._clock()
        await sign()
        self._until = max(self._until, sent_at + self.seconds)

    async def insist(
        self, act: Callable[[], Awaitable[_T]], foreseen: tuple[type[Exception], ...]
    ) -> _T:
        """Do what may fail for a while, again and again until the lease has passed.

        Raises:
            LeaseLostError: Caused by the last failure.
        """
        backoff = Backoff(0.05, 2.0)
        while True:
            try:
                return await act()
            except foreseen as error:
                if self.remaining == 0:
                    raise LeaseLostError(f"the lease of {self.seconds:g} s has passed") from error
            await asyncio.sleep(min(backoff.delay(), self.remaining))
