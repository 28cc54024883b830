"""Gather: what arrives while one call runs is taken by the next, all at once.

This is how commits and lookups are batched: no timer, no waiting when idle, and the busier it gets
the larger the batches become.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Gather(Generic[T, R]):
    """Calls ``run`` over everything submitted since its last call began.

    Args:
        run: Answers a list of items with a result each, in order; an exception among them is for
            the submitter of that item. What it raises, every submitter of that call gets.
        weigh: What one item counts towards the bound.
        bound: The most that one call takes, by weight; at least one item is always taken.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        weigh: Callable[[T], int] = lambda _: 1,
        bound: int = 1000,
    ) -> None:
        self._run = run
        self._weigh = weigh
        self._bound = bound
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Have an item taken by the next call, and wait for its result."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._begin()
        return await future

    def _begin(self) -> None:
        """Make a call with the next turn of the loop: all that is ready now submits before it."""
        self._task = asyncio.create_task(self._call(), name="gather")
        self._task.add_done_callback(self._stop_if_cancelled)

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        taken = [self._waiting.popleft()]
        weight = self._weigh(taken[0][0])
        while self._waiting:
            weight += self._weigh(self._waiting[0][0])
            if weight > self._bound:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _call(self) -> None:
        """Make one call, and begin the next one before anybody works on this one's results."""
        items, futures = zip(*self._take(), strict=True)
        results: Sequence[R | Exception]
        try:
            results = await self._run(items)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for the submitters
            results = [error] * len(items)
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        self._task = None
        if self._waiting:
            self._begin()
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _stop_if_cancelled(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a call that will not be made: whoever cancels one ends them all."""
        if not task.cancelled():
            return
        self._task = None
        while self._waiting:
            _, future = self._waiting.popleft()
            future.cancel()
