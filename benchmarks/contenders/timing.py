"""Timing: what a contender measures of its own work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from time import monotonic, time_ns
from typing import Self
from uuid import UUID

from benchmarks.assignment import Assignment, Moment


@dataclass(slots=True)
class Timing:
    """How far a contender is, and how long it has taken.

    Attributes:
        warming: Messages that are still to come before what is measured.
        left: Messages that are still to come.
        first: When the first of them was delivered, by the monotonic clock.
        latencies_ms: From when each was made to its ack.
    """

    warming: int
    left: int
    began: Moment | None = None
    first: float = inf
    span: Moment | None = None
    latencies_ms: list[float] = field(default_factory=list)
    warm: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, assignment: Assignment) -> Self:
        """Begin with nothing done."""
        return cls(len(assignment.runtimes) if assignment.warm else 0, assignment.messages)

    def begin(self) -> None:
        """Look at the clocks, unless that is done."""
        self.began = self.began or Moment.now()

    def received(self, at: float) -> None:
        """Note when a delivery came."""
        if not self.warming:
            self.first = min(self.first, at)

    def acked(self, message_ids: Iterable[str | None]) -> None:
        """Note messages that have just been acked, after their commit."""
        ids = list(message_ids)
        if self.warming:
            self._warm_up(len(ids))
            return
        now_ms = time_ns() / 1e6
        self.latencies_ms.extend(now_ms - _made_ms(one) for one in ids)
        self.left -= len(ids)
        if self.left == 0:
            assert self.began is not None
            self.span = Moment(monotonic() - self.first, self.began.passed().cpu_seconds)
            self.finished.set()

    def _warm_up(self, count: int) -> None:
        self.warming -= count
        if not self.warming:
            self.began = Moment.now()
            self.warm.set()

    async def work(self, assignment: Assignment) -> Moment:
        """Tell the stage when messages may come, and wait until all are done; answers the span."""
        print("ready", flush=True)
        if assignment.warm:
            await self.warm.wait()
            print("warm", flush=True)
        await self.finished.wait()
        assert self.span is not None
        return self.span


def _made_ms(message_id: str | None) -> int:
    """When a message was made: the first 48 bits of its id."""
    return UUID(message_id).int >> 80
