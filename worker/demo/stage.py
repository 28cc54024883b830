"""The stage: worker and executor processes, on files of the demo's own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ECHO: Final = "worker.echo:executor"
"""The agent that is there if no other is named."""

STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays.

    Attributes:
        directory: Holds the database, the blobs and the logs.
        amqp_url: The broker.
        namespace: The first part of every name on it.
    """

    directory: Path
    amqp_url: str
    namespace: str

    @property
    def database_url(self) -> str:
        """The database file, as SQLAlchemy takes it."""
        return f"sqlite+aiosqlite:///{self.directory / 'meerkat.db'}"

    @property
    def blobs(self) -> Path:
        """The directory of blobs."""
        return self.directory / "blobs"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the demo's processes are told; the names are those of every deployment."""
        return {
            "MEERKAT_AMQP_URL": self.amqp_url,
            "MEERKAT_DATABASE_URL": self.database_url,
            "MEERKAT_BLOBS": str(self.blobs),
            "MEERKAT_NAMESPACE": self.namespace,
            "MEERKAT_HEALTH_PORT": "0",
            "MEERKAT_LEASE_SECONDS": "10",
        }

    async def migrate(self) -> None:
        """Make the database."""
        process = await self._start("migrate", "migrate")
        if await process.wait() != 0:
            log = (self.directory / "migrate.log").read_text(encoding="utf-8")
            raise RuntimeError(f"migrate failed: {log}")

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker process while the context lasts; ended by SIGTERM if it still lives."""
        process = await self._start(name, "run")
        try:
            yield process
        finally:
            await _stop(process)

    @asynccontextmanager
    async def executor(self, agent: str = ECHO) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run an agent, the echo agent if none is named, while the context lasts."""
        process = await self._start("executor", "executor", agent)
        try:
            yield process
        finally:
            await _stop(process)

    async def _start(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        with (self.directory / f"{name}.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "worker.cli",
                *arguments,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
