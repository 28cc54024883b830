"""Scale: many runtimes on one worker; how fast they come to life, and what each costs in memory."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.messages import prompts
from benchmarks.report import Report
from benchmarks.rig import Rig, rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from schemas.ids import RuntimeId
from tests.support.eventually import eventually

WAIT_SECONDS: Final = 240.0
WAVES: Final = 40
"""Parts in which runtimes have their inputs, so that only few are busy at once."""

LAPS: Final = 3
"""How often half of the runtimes come before the others do: what is filled once is full then."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one layout showed.

    Attributes:
        activations: Runtimes a second that came to life, all at once, each for one input.
        steady: Inputs a second that were admitted when all were alive.
        consumed: KiB a runtime whose queue is consumed and that has had no input.
        active: KiB more with a driver in memory and an input that waits.
        passivated: KiB more for one that has been in memory and is not now.
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
            "active beyond one that only consumes. Passivated: with room in memory for one runtime "
            f"in {WAVES}, half of them come and go {LAPS} times, which fills what is filled once; "
            "then the others come and go: what that adds, pages that SQLite keeps included."
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
            first, second = ready.runtimes[: runtimes // 2], ready.runtimes[runtimes // 2 :]
            await _come_and_go(ready, first * LAPS, wave)
            filled = _resident(worker.pid)
            await _come_and_go(ready, second, wave)
            passivated = _resident(worker.pid) - filled
            await _come_and_go(ready, second * (LAPS - 1), wave)
        async with ready.deployment.worker(MAX_ACTIVE_RUNTIMES=str(10 * runtimes)) as worker:
            before = await _consuming(ready, worker.pid)
            activations = await _activate(ready)
            active = _resident(worker.pid) - before
            steady = await _keep_busy(ready, worker, messages)
        await ready.check((LAPS + 1) * runtimes + messages)
    return Found(
        activations,
        steady,
        (consumed - alone) / runtimes,
        active / runtimes,
        passivated / len(second),
    )


async def _consuming(ready: Rig, pid: int) -> int:
    """The size of a worker that has come to consume all queues."""
    await eventually(lambda: _are_consumed(ready), WAIT_SECONDS, "all queues are consumed")
    return _resident(pid)


async def _come_and_go(ready: Rig, runtimes: Sequence[RuntimeId], wave: int) -> None:
    """Give each of them an input, in waves."""
    inputs = prompts(ready.topology, runtimes, len(runtimes))
    admitted = await ready.admitted()
    while some := list(islice(inputs, wave)):
        await ready.publish(some)
        admitted += len(some)
        await ready.until_admitted(admitted)


async def _activate(ready: Rig) -> float:
    runtimes = len(ready.runtimes)
    await ready.load(runtimes)
    seen = await ready.until_admitted((LAPS + 1) * runtimes)
    return runtimes / (seen - await ready.began(after=LAPS)).total_seconds()


async def _keep_busy(ready: Rig, worker: asyncio.subprocess.Process, messages: int) -> float:
    """Let messages wait, then have the worker take them: its speed and not the publisher's."""
    before = await ready.admitted()
    worker.send_signal(signal.SIGSTOP)
    await ready.load(messages)
    worker.send_signal(signal.SIGCONT)
    seen = await ready.until_admitted(before + messages)
    return messages / (seen - await ready.began(after=LAPS + 1)).total_seconds()


async def _are_consumed(ready: Rig) -> bool:
    wanted = {ready.topology.queue_of(one) for one in ready.runtimes}
    return any(wanted.issubset(one.queues) for one in await ready.alive())


def _resident(pid: int) -> int:
    """Resident size of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])
