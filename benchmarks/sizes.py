"""Sizes: how much a benchmark does. Tiny ones prove that it runs; their figures mean nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Size:
    """How much work.

    Attributes:
        times: Rounds, in turn; medians are shown.
        messages: Messages of a round.
        runtimes: Runtimes that they are for.
        sharded: Runtimes that share a few queues.
        kills: Workers that are killed.
        past: Inputs that a runtime has been through.
    """

    times: int = 3
    messages: int = 20_000
    runtimes: int = 100
    many: int = 1_000
    sharded: int = 50_000
    kills: int = 5
    past: int = 1_000_000

    def told(self, times: int | None, messages: int | None) -> Size:
        """Change what was asked for."""
        return replace(self, times=times or self.times, messages=messages or self.messages)


FULL = Size()
TINY = Size(times=1, messages=300, runtimes=6, many=8, sharded=40, kills=1, past=1_000)
