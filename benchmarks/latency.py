"""Latency: publish to commit, at half of the rate that the worker can do.

First the worker empties full queues, which tells its rate. Then a fresh one waits, and prompts are
published at half of that rate, in even steps. Each prompt says when it was published; the worker's
process looks at the clock when it has acked it, just after its commit. The activations of all
runtimes are part of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import monotonic
from typing import Final

from benchmarks.admission import rate
from benchmarks.assignment import Result
from benchmarks.messages import prompts
from benchmarks.stage import Stage, stage

MODULE: Final = "benchmarks.contenders.meerkat"
RUNTIMES: Final = 100
STEP_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured: at which rate, and how long messages took, in milliseconds."""

    messages_per_second: float
    p50_ms: float
    p99_ms: float


async def measured(url: str, *, messages: int, times: int) -> Latency:
    """Find the worker's rate, then its latencies at half of it; medians of so many rounds."""
    full = [await _emptied(url, messages) for _ in range(times)]
    half = rate(full) / 2
    paced = [await _paced(url, messages, half) for _ in range(times)]
    p50s = [one.p50_ms for one in paced if one.p50_ms is not None]
    p99s = [one.p99_ms for one in paced if one.p99_ms is not None]
    return Latency(half, median(p50s), median(p99s))


async def _emptied(url: str, messages: int) -> Result:
    async with stage(url, runtimes=RUNTIMES, messages=messages) as ready:
        await ready.load()
        return await ready.perform(MODULE)


async def _paced(url: str, messages: int, per_second: float) -> Result:
    async with stage(url, runtimes=RUNTIMES, messages=messages) as ready:
        return await ready.perform(MODULE, meanwhile=lambda: _publish(ready, per_second))


async def _publish(ready: Stage, per_second: float) -> None:
    """Publish in small steps on an even beat; a step that is late is not waited for."""
    told = ready.assignment
    messages = prompts(told.topology, told.runtimes, told.messages)
    beat, size = monotonic(), max(1, round(per_second * STEP_SECONDS))
    async with asyncio.TaskGroup() as group:
        # Messages are stamped as they are taken.
        while step := list(islice(messages, size)):
            group.create_task(ready.publish(step))
            beat += size / per_second
            await asyncio.sleep(beat - monotonic())
