"""History: what a long past costs a runtime. It should cost nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from benchmarks.messages import runtime_ids
from benchmarks.past import give_past, give_waiting
from benchmarks.report import Report, spread
from benchmarks.rig import rig
from benchmarks.services import Services
from benchmarks.sizes import Size
from store import migrations
from store.open import open_store
from worker.clock import now
from worker.driver.options import DriverOptions
from worker.driver.recovery import recover
from worker.sandbox import PostgreSQL, drop_database

RUNTIME: Final = runtime_ids(1)[0]
WAITING: Final = 100
"""Inputs that wait when an activation is timed."""

ACTIVATIONS: Final = 21


@dataclass(frozen=True, slots=True)
class Files:
    """SQLite files in a directory: prepared once, and copied for each round."""

    directory: Path

    async def new(self) -> str:
        """Name a file."""
        number = len(list(self.directory.iterdir()))
        return f"sqlite+aiosqlite:///{self.directory}/{number}.db"

    @asynccontextmanager
    async def copy(self, original: str) -> AsyncIterator[str]:
        """Copy the file, and have it on the disk before anybody measures the disk."""
        file = original.removeprefix("sqlite+aiosqlite:///")
        await asyncio.to_thread(shutil.copyfile, file, f"{file}-copy")
        await asyncio.to_thread(_sync, f"{file}-copy")
        yield f"{original}-copy"
        for left in Path(file).parent.glob(f"{Path(file).name}-copy*"):
            left.unlink()


def _sync(file: str) -> None:
    with Path(file).open("rb") as opened:
        os.fsync(opened.fileno())


@dataclass(frozen=True, slots=True)
class Databases:
    """The same as databases of a PostgreSQL server."""

    server: PostgreSQL

    async def new(self) -> str:
        """Create one."""
        return await self.server.create_database()

    @asynccontextmanager
    async def copy(self, original: str) -> AsyncIterator[str]:
        """Have the server copy it, file by file: its log would still be busy with it afterwards."""
        name = urlsplit(original).path.lstrip("/")
        connection = await asyncpg.connect(self.server.url, database="postgres")
        newer = await connection.fetchval("SHOW server_version_num") >= "150000"
        how = "STRATEGY file_copy" if newer else ""
        await connection.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}" {how}')
        await connection.close()
        yield f"{original}_copy"
        await drop_database(self.server.url, f"{original}_copy")


@dataclass(frozen=True, slots=True)
class Found:
    """What one database showed, with and without a past: messages a second, and seconds."""

    rates: dict[int, list[float]]
    activations: dict[int, list[float]]


def report(services: Services, size: Size) -> Report:
    """Measure on both databases."""
    with tempfile.TemporaryDirectory(prefix="meerkat-bench-") as directory:
        originals: dict[str, Files | Databases] = {
            "SQLite": Files(Path(directory)),
            "PostgreSQL": Databases(services.server),
        }
        found = {
            name: asyncio.run(_measured(services.amqp_url, one, size))
            for name, one in originals.items()
        }
    rows = [row for name, one in found.items() for row in _rows(name, one)]
    notes = (
        (
            f"One runtime, {size.messages:,} messages that wait; one worker; medians of "
            f"{size.times} rounds, in turn, each on a fresh copy of the database."
        ),
        (
            "Activation: the store's transaction and the driver's recovery over "
            f"{WAITING} inputs that wait; {ACTIVATIONS} times."
        ),
    )
    return Report("history", "One runtime with a long past", rows, notes)


def _rows(database: str, found: Found) -> list[dict[str, object]]:
    empty = median(found.rates[0])
    return [
        {
            "database": database,
            "past inputs": f"{past:,}",
            "messages/s": round(median(rates)),
            "ratio to none": round(median(rates) / empty, 2),
            "from to": spread(rates),
            "activation, ms": round(median(found.activations[past]) * 1000, 1),
            "slowest, ms": round(max(found.activations[past]) * 1000, 1),
        }
        for past, rates in found.rates.items()
    ]


async def _measured(amqp_url: str, originals: Files | Databases, size: Size) -> Found:
    pasts = (0, size.past)
    prepared = {past: await _prepared(originals, past) for past in pasts}
    found = Found({past: [] for past in pasts}, {past: [] for past in pasts})
    for _ in range(size.times):
        for past, original in prepared.items():
            async with originals.copy(original) as database:
                rate = await _rate(amqp_url, database, size.messages, past)
                found.rates[past].append(rate)
    for past, original in prepared.items():
        async with originals.copy(original) as database:
            found.activations[past].extend(await _activations(database))
    return found


async def _prepared(originals: Files | Databases, past: int) -> str:
    address = await originals.new()
    await migrations.migrate(address)
    store = await open_store(address, patience=300)
    await store.register([RUNTIME], now=now())
    if past:
        await give_past(store, RUNTIME, past)
    await store.close()
    return address


async def _rate(amqp_url: str, database: str, messages: int, past: int) -> float:
    async with rig(amqp_url, database, runtimes=1) as ready:
        before = await ready.admitted()
        assert before == (past + 1 if past else 0), "the past is not there"
        await ready.load(messages)
        async with ready.deployment.worker():
            seen = await ready.until_admitted(before + messages)
            await ready.check(messages, past=before)
            return messages / (seen - await ready.began()).total_seconds()


async def _activations(database: str) -> list[float]:
    store = await open_store(database)
    await give_waiting(store, RUNTIME, WAITING)
    seconds = []
    for _ in range(ACTIVATIONS):
        began = time.perf_counter()
        stored = await store.activate(RUNTIME, owner="benchmark", now=now())
        recovered = recover(stored, now=now(), options=DriverOptions())
        seconds.append(time.perf_counter() - began)
        assert len(recovered.driver.active_inputs()) == WAITING
    await store.close()
    return seconds
