"""Links: as many links to the broker as so many channels need."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from worker.broker.link import Link

CHANNELS: Final = 1_000
"""Channels on one connection. The broker allows 2,047 by default; each connection is one socket,
one reader here and one there, so more than one helps anyway."""


class Links:
    """The link that was given, and others beside it while places are taken on all of them."""

    def __init__(self, first: Link, *, channels: int = CHANNELS) -> None:
        self._channels = channels
        self._links = [first]
        self._taken: Counter[Link] = Counter()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def __len__(self) -> int:
        return len(self._links)

    async def take(self) -> Link:
        """Take a place for one channel."""
        for link in self._links:
            if self._taken[link] < self._channels:
                break
        else:
            link = await self._stack.enter_async_context(self._links[0].another())
            self._links.append(link)
        self._taken[link] += 1
        return link

    def give_up(self, link: Link) -> None:
        """Give a place back."""
        self._taken[link] -= 1
