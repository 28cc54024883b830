"""Scale: many runtimes on one worker; how fast they come to life, and what each costs in memory."""

from __future__ import annotations

import asyncio
import re
import signal
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.messages import prompts
from benchmarks.report import Report
from benchmarks.rig import Rig, rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from tests.support.eventually import eventually

WAIT_SECONDS: Final = 240.0
WAVES: Final = 40
"""Parts in which runtimes have their first input, so that only few are busy at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one layout showed.

    Attributes:
        activations: Runtimes a second that came to life, all at once, each for one input.
        steady: Inputs a second that were admitted when all were alive.
        consumed: KiB a runtime whose queue is consumed and that has had no input.
        active: KiB more with a driver in memory and an input that waits.
        passivated: KiB more than ``consumed`` for one that has been in memory and is not now; of
            the second half of them, for the first ones also fill what is there once.
    """

    activations: float
    steady: float
    consumed: float
    active: float
    passivated: float


def report(services: Services, size: Size) -> Report:
    """Measure both layouts."""
    layouts = (("per-runtime", size.many), ("sharded:64", size.sharded))
    rows = [
        _row(layout, runtimes, asyncio.run(measure(services, layout, runtimes, size.messages)))
        for layout, runtimes in layouts
    ]
    notes = (
        "One worker process on SQLite.",
        (
            "Activation: all runtimes get an input at once; from the first one taken in hand until "
            "the last one is admitted."
        ),
        f"Steady: {size.messages:,} inputs that wait, for the runtimes in turn, all in memory.",
        (
            "Memory: resident size of the process. Consumed is beyond a worker without runtimes, "
            "active beyond one that only consumes. Passivated: each runtime has had an input, in "
            f"{WAVES} waves, with room in memory for one wave; what the second half of the waves "
            "added, for the first ones also fill what is there once (code, caches of the database)."
        ),
    )
    return Report("scale", "Many runtimes on one worker", rows, notes)


def _row(layout: str, runtimes: int, found: Found) -> dict[str, object]:
    return {
        "layout": layout,
        "runtimes": f"{runtimes:,}",
        "activations/s": round(found.activations),
        "inputs/s": round(found.steady),
        "consumed, KiB each": round(found.consumed, 1),
        "active, KiB each": round(found.active, 1),
        "passivated, KiB each": round(found.passivated, 2),
    }


async def measure(services: Services, layout: str, runtimes: int, messages: int) -> Found:
    """Have so many runtimes come and go on one worker, and on the next one come and stay."""
    async with rig(services.amqp_url, runtimes=runtimes, layout=layout) as ready:
        wave = max(1, runtimes // WAVES)
        async with ready.deployment.worker(MAX_ACTIVE_RUNTIMES=str(wave)) as worker:
            await ready.share_out(1)
            alone = _resident(worker.pid)
            await ready.register()
            consumed = await _consuming(ready, worker.pid)
            half = await _come_and_go(ready, wave, worker.pid)
            passivated = (_resident(worker.pid) - half) * 2
        async with ready.deployment.worker(MAX_ACTIVE_RUNTIMES=str(10 * runtimes)) as worker:
            before = await _consuming(ready, worker.pid)
            activations = await _activate(ready)
            active = _resident(worker.pid) - before
            steady = await _keep_busy(ready, worker, messages)
        await ready.check(2 * runtimes + messages)
    return Found(
        activations,
        steady,
        (consumed - alone) / runtimes,
        active / runtimes,
        passivated / runtimes,
    )


async def _consuming(ready: Rig, pid: int) -> int:
    """The size of a worker that has come to consume all queues."""
    await eventually(lambda: _are_consumed(ready), WAIT_SECONDS, "all queues are consumed")
    return _resident(pid)


async def _come_and_go(ready: Rig, wave: int, pid: int) -> int:
    """Give each runtime its first input, in waves; answers the worker's size after half of them."""
    first = prompts(ready.topology, ready.runtimes, len(ready.runtimes))
    admitted, half = 0, 0
    while some := list(islice(first, wave)):
        await ready.publish(some)
        admitted += len(some)
        await ready.until_admitted(admitted)
        half = half or (_resident(pid) if admitted * 2 >= len(ready.runtimes) else 0)
    return half


async def _activate(ready: Rig) -> float:
    runtimes = len(ready.runtimes)
    await ready.load(runtimes)
    seen = await ready.until_admitted(2 * runtimes)
    return runtimes / (seen - await ready.began(after=1)).total_seconds()


async def _keep_busy(ready: Rig, worker: asyncio.subprocess.Process, messages: int) -> float:
    """Let messages wait, then have the worker take them: its speed and not the publisher's."""
    before = await ready.admitted()
    worker.send_signal(signal.SIGSTOP)
    await ready.load(messages)
    worker.send_signal(signal.SIGCONT)
    seen = await ready.until_admitted(before + messages)
    return messages / (seen - await ready.began(after=2)).total_seconds()


async def _are_consumed(ready: Rig) -> bool:
    wanted = {ready.topology.queue_of(one) for one in ready.runtimes}
    return any(wanted.issubset(one.queues) for one in await ready.alive())


def _resident(pid: int) -> int:
    """Resident size of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])
