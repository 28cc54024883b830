"""Scale: many runtimes on one worker; how fast they come to life, and what each costs in memory."""

from __future__ import annotations

import asyncio
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks.report import Report
from benchmarks.rig import Rig, rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from tests.support.eventually import eventually
from worker.sandbox.ports import free_port

WAIT_SECONDS: Final = 240.0
LEISURE_SECONDS: Final = 5.0
ACTIVATIONS_A_SECOND: Final = 500
"""A rate that is reached anywhere: by it runtimes stay in memory until all were measured."""

_ACTIVE: Final = re.compile(r"^meerkat_active_runtimes (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """What one layout showed.

    Attributes:
        activations: Runtimes a second that came to life, each with a first input.
        steady: Inputs a second that were admitted when all were alive.
        consumed: KiB a runtime whose queue is consumed and that has had no input.
        active: KiB more with a driver in memory and an input that waits.
        passivated: KiB more than ``consumed`` that are left when it has gone from memory.
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
        "One worker process on SQLite, all runtimes in memory (max_active_runtimes raised).",
        "Activation: from the first input taken in hand until every runtime has admitted one.",
        f"Steady: {size.messages:,} inputs that wait, for the runtimes in turn.",
        (
            "Memory: resident size of the process, beyond that of a worker without runtimes; "
            "active and passivated are beyond one that only consumes, passivated after all were "
            "idle and dropped."
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
    """Bring so many runtimes to life on one worker, keep them busy, and let them go again."""
    port = free_port()
    settings = {
        "MAX_ACTIVE_RUNTIMES": str(10 * runtimes),
        "PASSIVATE_AFTER": str(LEISURE_SECONDS + runtimes / ACTIVATIONS_A_SECOND),
        "HEALTH_PORT": str(port),
    }
    async with (
        rig(services.amqp_url, runtimes=runtimes, layout=layout, settings=settings) as ready,
        ready.deployment.worker() as worker,
    ):
        await ready.share_out(1)
        alone = _resident(worker.pid)
        await ready.register()
        await eventually(lambda: _are_consumed(ready), WAIT_SECONDS, "all queues are consumed")
        consumed = _resident(worker.pid)
        activations = await _activate(ready)
        active = _resident(worker.pid)
        await eventually(lambda: _all_there(port, runtimes), WAIT_SECONDS, "all are in memory")
        steady = await _keep_busy(ready, worker, messages)
        await ready.check(runtimes + messages)
        await eventually(lambda: _all_gone(port), WAIT_SECONDS, "all runtimes are passivated")
        left = _resident(worker.pid)
    return Found(
        activations,
        steady,
        (consumed - alone) / runtimes,
        (active - consumed) / runtimes,
        (left - consumed) / runtimes,
    )


async def _activate(ready: Rig) -> float:
    runtimes = len(ready.runtimes)
    await ready.load(runtimes)
    seen = await ready.until_admitted(runtimes)
    return runtimes / (seen - await ready.began()).total_seconds()


async def _keep_busy(ready: Rig, worker: asyncio.subprocess.Process, messages: int) -> float:
    """Let messages wait, then have the worker take them: its speed and not the publisher's."""
    before = await ready.admitted()
    worker.send_signal(signal.SIGSTOP)
    await ready.load(messages)
    worker.send_signal(signal.SIGCONT)
    seen = await ready.until_admitted(before + messages)
    return messages / (seen - await ready.began(after=1)).total_seconds()


async def _are_consumed(ready: Rig) -> bool:
    wanted = {ready.topology.queue_of(one) for one in ready.runtimes}
    return any(wanted.issubset(one.queues) for one in await ready.store.workers())


async def _all_there(port: int, runtimes: int) -> bool:
    return await _active(port) >= runtimes


async def _all_gone(port: int) -> bool:
    return await _active(port) == 0


async def _active(port: int) -> float:
    """How many runtimes the worker says that it has in memory."""
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    found = _ACTIVE.search(metrics)
    assert found is not None, "no metric of active runtimes"
    return float(found[1])


def _resident(pid: int) -> int:
    """Resident size of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])
