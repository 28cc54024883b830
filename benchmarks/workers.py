"""Workers side by side: what a second one brings, and how soon one takes over from a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import count, islice
from statistics import median
from typing import Final

import msgspec

from benchmarks.messages import prompts
from benchmarks.report import Report, spread
from benchmarks.rig import Rig, rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from tests.support.eventually import eventually
from worker.clock import now
from worker.sandbox import drop_database

FEED_SECONDS: Final = 0.25
"""How often every runtime gets an input while workers are being killed."""

TAKEOVER_SECONDS: Final = 60.0


class Takeover(msgspec.Struct, frozen=True):
    """Seconds from a kill to the next commit on the dead worker's runtimes.

    Attributes:
        first: On the first of them.
        last: On the last of them.
        runtimes: How many there were.
    """

    first: float
    last: float
    runtimes: int


def report(services: Services, size: Size) -> Report:
    """Measure both."""
    rates = asyncio.run(_rates(services, size))
    takeovers = asyncio.run(_takeovers(services, size))
    one, two = (median(rates[workers]) for workers in (1, 2))
    first, last = [one.first for one in takeovers], [one.last for one in takeovers]
    rows = [
        _row("1 worker, inputs/s", round(one), "1", spread(rates[1])),
        _row("2 workers, inputs/s", round(two), f"{two / one:.2f}", spread(rates[2])),
        _row("takeover, first runtime, s", f"{median(first):.2f}", "", spread(first, 2)),
        _row("takeover, last runtime, s", f"{median(last):.2f}", "", spread(last, 2)),
    ]
    notes = (
        (
            f"{size.runtimes} runtimes, {size.messages:,} messages that wait when the workers "
            f"begin; medians of {size.times} rounds, in turn."
        ),
        (
            f"Takeover: {len(takeovers)} times kill -9 of one of two workers, while every runtime "
            f"gets an input each {FEED_SECONDS:g} s; to the next commit on its "
            f"{median([one.runtimes for one in takeovers]):.0f} runtimes."
        ),
        "PostgreSQL, the broker and the workers share the cores.",
    )
    return Report("workers", "Workers side by side", rows, notes)


def _row(what: str, value: object, ratio: str, between: str) -> dict[str, object]:
    return {"what": what, "median": value, "ratio to one worker": ratio, "from to": between}


async def _rates(services: Services, size: Size) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(size.times):
        for workers, rates in found.items():
            rates.append(await rate(services, size, workers))
    return found


async def rate(services: Services, size: Size, workers: int) -> float:
    """Inputs a second that so many workers commit together, from the first in hand to the last."""
    async with _ground(services, size.runtimes) as ready, AsyncExitStack() as running:
        await ready.load(size.messages)
        for _ in range(workers):
            await running.enter_async_context(ready.deployment.worker())
        await ready.share_out(workers)
        await ready.register()
        await ready.nudge()
        await ready.until_admitted(size.messages)
        await ready.check(size.messages)
        assert await _owners(ready) == workers, "not all workers took part"
        span = await ready.last_commit() - await ready.began()
        return size.messages / span.total_seconds()


async def _owners(ready: Rig) -> int:
    return int(await ready.value("SELECT count(DISTINCT owner) FROM runtimes"))


@asynccontextmanager
async def _ground(services: Services, runtimes: int) -> AsyncIterator[Rig]:
    database = await services.server.create_database()
    async with rig(services.amqp_url, database, runtimes=runtimes) as ready:
        yield ready
    await drop_database(services.server.url, database)


async def _takeovers(services: Services, size: Size) -> list[Takeover]:
    async with _ground(services, size.runtimes) as ready:
        await ready.register()
        feeder = asyncio.create_task(_feed(ready))
        try:
            async with ready.deployment.worker(WORKER_ID="survivor"):
                return [await _takeover(ready, f"victim-{turn}") for turn in range(size.kills)]
        finally:
            feeder.cancel()


async def _feed(ready: Rig) -> None:
    """Give every runtime an input, again and again."""
    waiting = prompts(ready.topology, ready.runtimes, 10**9)
    for _ in count():
        await ready.publish(list(islice(waiting, len(ready.runtimes))))
        await asyncio.sleep(FEED_SECONDS)


async def _takeover(ready: Rig, name: str) -> Takeover:
    async with ready.deployment.worker(WORKER_ID=name) as victim:
        await ready.share_out(2)
        await eventually(lambda: _all_owned(ready, name), TAKEOVER_SECONDS, "both are at work")
        owned = await ready.values("SELECT runtime_id FROM runtimes WHERE owner = :o", o=name)
        killed = now()
        victim.kill()
        await victim.wait()
    commits = await eventually(
        lambda: _commits(ready, owned, killed), TAKEOVER_SECONDS, "the survivor commits"
    )
    seconds = [(commit - killed).total_seconds() for commit in commits]
    return Takeover(min(seconds), max(seconds), len(owned))


async def _all_owned(ready: Rig, name: str) -> bool:
    """Whether a worker has taken every runtime whose queue it holds."""
    presences = {one.worker_id: one.queues for one in await ready.store.workers()}
    held = {ready.topology.queue_of(one) for one in ready.runtimes} & set(presences.get(name, ()))
    query = "SELECT count(*) FROM runtimes WHERE owner = :o"
    return bool(held) and await ready.value(query, o=name) == len(held)


async def _commits(ready: Rig, runtimes: list[str], killed: datetime) -> list[datetime] | None:
    """When each runtime had its first commit of an input that came in after the kill."""
    query = """
        SELECT min(pg_xact_commit_timestamp(xmin)) FROM inputs
        WHERE runtime_id = ANY(:runtimes) AND created_at > :killed GROUP BY runtime_id
    """
    found = await ready.values(query, runtimes=runtimes, killed=killed)
    return found if len(found) == len(runtimes) else None
