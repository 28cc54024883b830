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
            self._task = asyncio.create_task(self._drain(), name="gather")
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                # One turn of the loop lets all that is ready now submit, before the call is made.
                await asyncio.sleep(0)
                await self._call(self._take())
        finally:
            self._task = None

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        taken = [self._waiting.popleft()]
        weight = self._weigh(taken[0][0])
        while self._waiting:
            weight += self._weigh(self._waiting[0][0])
            if weight > self._bound:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _call(self, taken: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._run([item for item, _ in taken])
        except BaseException as error:
            _fail([future for _, future in taken], error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(taken, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _fail(futures: Sequence[asyncio.Future[R]], error: BaseException) -> None:
    for future in futures:
        if future.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            future.cancel()
        else:
            future.set_exception(error)
