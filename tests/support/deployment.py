"""A deployment of the test's own: worker and executor processes on a database file and a broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from store import migrations
from store.open import open_store
from store.sql import SqlStore
from tests.support.commands import ROOT
from worker.client import Client


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where processes run, and how to talk to them.

    Attributes:
        directory: Holds blobs and logs, and the database where it is a file.
        amqp_url: The broker as the workers see it.
        publish_url: The broker as clients and executors see it.
        settings: Further ``MEERKAT_*`` variables, without their prefix.
        program: The module that is the command line, and what it is told first.
    """

    directory: Path
    amqp_url: str
    namespace: str
    database_url: str
    publish_url: str = ""
    layout: str = "per-runtime"
    settings: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("worker.cli",)

    async def migrate(self) -> None:
        """Make the database."""
        await asyncio.to_thread(migrations.upgrade, self.database_url)

    @property
    def variables(self) -> dict[str, str]:
        """What a command of an operator, ada, is told."""
        return {
            "MEERKAT_AMQP_URL": self.amqp_url,
            "MEERKAT_DATABASE_URL": self.database_url,
            "MEERKAT_NAMESPACE": self.namespace,
            "LOGNAME": "ada",
        }

    def client(self) -> Client:
        """A client, to be entered."""
        return Client(
            self.publish_url or self.amqp_url, namespace=self.namespace, layout=self.layout
        )

    @asynccontextmanager
    async def store(self) -> AsyncIterator[SqlStore]:
        """The database, to look at what the workers committed."""
        store = await open_store(self.database_url)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker process; SIGTERM at the end, if it still lives, must end it with code 0."""
        async with self._process("worker", "run", AMQP_URL=self.amqp_url, **settings) as process:
            yield process

    @asynccontextmanager
    async def executor(
        self, name: str = "worker.echo:executor"
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run an executor process."""
        url = self.publish_url or self.amqp_url
        async with self._process("executor", "executor", name, AMQP_URL=url) as process:
            yield process

    def log(self, kind: str) -> str:
        """Everything that processes of a kind have said."""
        logs = sorted(self.directory.glob(f"{kind}-*.log"))
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    @asynccontextmanager
    async def _process(
        self, kind: str, *arguments: str, **settings: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        number = len(list(self.directory.glob(f"{kind}-*.log")))
        with (self.directory / f"{kind}-{number}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", *self.program, *arguments),
                cwd=ROOT,
                env=self._environment(settings),
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            await _end(process)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        told = {
            "DATABASE_URL": self.database_url,
            "BLOBS": str(self.directory / "blobs"),
            "NAMESPACE": self.namespace,
            "LAYOUT": self.layout,
            "HEALTH_PORT": "0",
            "LOG_LEVEL": "debug",
            **self.settings,
            **settings,
        }
        return {**os.environ, **{f"MEERKAT_{name}": value for name, value in told.items()}}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(30):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError("a process did not end within 30 s of SIGTERM") from None
    assert process.returncode == 0, f"a process ended with {process.returncode} after SIGTERM"
