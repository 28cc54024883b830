"""Latency: publish to commit, at half of the rate that can flow, and at less.

First everything flows as it can: a publisher with confirms, the broker and the worker side by side
on these cores, which tells the rate. (Queues that are full already are emptied at several times
that rate.) Then a fresh worker wakes every runtime, and prompts come from a process of their own at
a part of that rate, on an even beat, for the runtimes in turn. A prompt's id says when it was made,
to the millisecond below; a contender looks at the clock when it has acked it, just after its
commit. Beside the worker stands the bare transaction on the same queues: what the broker, the disk
and the cores allow.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from statistics import median
from typing import Final

import msgspec

from benchmarks.admission import rate
from benchmarks.assignment import Pace, Result
from benchmarks.stage import ROOT, Stage, stage

WORKER: Final = "benchmarks.contenders.meerkat"
CONTENDERS: Final = {
    "aio-pika, executemany, commit": "benchmarks.contenders.transaction",
    "this worker": WORKER,
}
PACER: Final = "benchmarks.contenders.pacer"
RUNTIMES: Final = 100
PARTS: Final = {"half": 2, "a quarter": 4, "a tenth": 10}
SECONDS: Final = 8.0
"""How long messages come."""

LATE_SECONDS: Final = 1.0
"""A publisher that is later than this measures itself."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured at which part of the rate: how long messages took, in milliseconds."""

    part: str
    what: str
    messages_per_second: float
    p50_ms: float
    p99_ms: float


async def measured(url: str, *, messages: int, times: int) -> list[Latency]:
    """Find the rate, then the latencies at parts of it; medians of so many rounds."""
    full = rate([await _flowing(url, messages) for _ in range(times)])
    turns = [(part, what) for part in PARTS for what in CONTENDERS]
    found: dict[tuple[str, str], list[Result]] = {turn: [] for turn in turns}
    for _ in range(times):
        for (part, what), results in found.items():
            pace = full / PARTS[part]
            count = min(messages // 2, round(pace * SECONDS))
            results.append(await paced(url, CONTENDERS[what], count, pace))
    return [
        Latency(
            part,
            what,
            full / PARTS[part],
            median(one.p50_ms for one in results if one.p50_ms is not None),
            median(one.p99_ms for one in results if one.p99_ms is not None),
        )
        for (part, what), results in found.items()
    ]


async def _flowing(url: str, messages: int) -> Result:
    """Publish as fast as confirms come, while the worker works."""
    async with stage(url, runtimes=RUNTIMES, messages=messages, warm=True) as ready:
        return await ready.perform(WORKER, meanwhile=ready.load)


async def paced(url: str, module: str, messages: int, per_second: float) -> Result:
    """Measure a contender that gets messages at a rate."""
    async with stage(url, runtimes=RUNTIMES, messages=messages, warm=True) as ready:
        return await ready.perform(module, meanwhile=lambda: _publish(ready, per_second))


async def _publish(ready: Stage, per_second: float) -> None:
    """Have the pacer publish."""
    pace = Pace(ready.assignment, per_second)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", PACER, msgspec.json.encode(pace).decode()),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, f"the pacer ended with {process.returncode}"
    latest = float(out)
    assert latest < LATE_SECONDS, f"the publisher was {latest:.1f} s late"
