"""PostgreSQL: the worker's group commit beside the bare transaction on the same server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final

from benchmarks.assignment import Assignment
from benchmarks.report import Report, beside
from benchmarks.rig import Rig, rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from benchmarks.stage import Stage
from worker.sandbox import drop_database

BARE: Final = "aio-pika + SQLAlchemy, asyncpg"


def report(services: Services, size: Size) -> Report:
    """Have all perform in turn, so many times."""
    contenders: dict[str, tuple[int, Callable[[Rig, int], Awaitable[float]]]] = {
        BARE: (1, _bare),
        f"this worker, {size.runtimes} runtimes": (size.runtimes, worker_rate),
        "this worker, 1 runtime": (1, worker_rate),
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(size.times):
        for name, (runtimes, perform) in contenders.items():
            work = _performed(services, runtimes, size.messages, perform)
            found[name].append(asyncio.run(work))
    rows = beside(found, median(found[BARE]), "ratio")
    notes = (
        (
            f"{size.messages:,} messages that wait; medians of {size.times} rounds, in turn; one "
            "process each, fsync on."
        ),
        (
            f"{BARE}: prefetch 1,000; what arrives during a commit is the next batch: one "
            "executemany of 4 columns, one commit, one cumulative ack."
        ),
        (
            "This worker: `meerkat-worker run` as it comes; lookups, decisions, inputs with their "
            "history, runs and timers in the same transaction."
        ),
    )
    return Report("postgresql", "Group commit on PostgreSQL", rows, notes)


async def _performed(
    services: Services,
    runtimes: int,
    messages: int,
    perform: Callable[[Rig, int], Awaitable[float]],
) -> float:
    database = await services.server.create_database()
    async with rig(services.amqp_url, database, runtimes=runtimes) as ready:
        await ready.load(messages)
        found = await perform(ready, messages)
    await drop_database(services.server.url, database)
    return found


async def _bare(ready: Rig, messages: int) -> float:
    told = ready.deployment
    assignment = Assignment(
        told.amqp_url, told.namespace, ready.runtimes, messages, told.database_url
    )
    performed = await Stage(ready.publisher, assignment).perform("benchmarks.contenders.postgresql")
    return performed.rate


async def worker_rate(ready: Rig, messages: int) -> float:
    """Messages a second of one worker process, from the first one in hand to the last commit."""
    await ready.register()
    async with ready.deployment.worker():
        await ready.until_admitted(messages)
        await ready.check(messages)
        span = await ready.last_commit() - await ready.began()
    return messages / span.total_seconds()
