"""Stage: a broker, a database, the processes that use them, and a proxy in each connection."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.audit import address_for
from tests.chaos.plan import BROKER, DATABASE, EXECUTORS, PUBLISHERS, WORKERS, Wire
from tests.chaos.terms import NAMESPACE, Terms
from tests.support.commands import ROOT
from tests.support.eventually import eventually
from worker.sandbox import PostgreSQL, Proxy, RabbitMQ
from worker.sandbox.carriers import ProcessCarrier
from worker.sandbox.enclosure import Enclosure, Program, clean_environment

AGENT: Final = "tests.chaos.agent:executor"
HEARTBEAT: Final = 2
"""Seconds. Short, so that a stall of some seconds is one that somebody notices."""

START_SECONDS: Final = 60.0
WELL: Final = ("it ended with code 0;", "it ended with code -15;")
"""How a process ends that was told to; by the signal itself if it had not yet begun its work."""

UNUSABLE: Final = "it ended with code 2;"
"""How a process that cannot begin its work ends: see the exit codes of the command line."""

SETTINGS: Final = {
    "BACKOFF_BASE": "0.1",
    "BACKOFF_CAP": "1",
    "DATABASE_GRACE": "3",
    "DRAIN_SECONDS": "3",
    "HEALTH_PORT": "0",
    "LEASE_SECONDS": "5",
    "MAX_ACTIVE_RUNTIMES": "16",
    "MAX_ATTEMPTS": "10",
    "NAMESPACE": NAMESPACE,
    "REQUEST_SECONDS": "5",
    "WORKER_HEARTBEAT": "0.5",
    "WORKER_TTL": "3",
}


def roles(seconds: float) -> list[str]:
    """Name the database roles of all workers to be: a worker's role is its worker id.

    None is started more often than every other second, however often it is killed.
    """
    return [f"{name}-{life}" for name in WORKERS for life in range(20 + int(seconds / 2))]


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended though nobody killed it."""

    name: str
    life: int
    why: str


@dataclass(slots=True)
class Member:
    """A process that is started again whenever it ends, each life with a log of its own."""

    name: str
    enclosure: Enclosure
    directory: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    database_url: str = ""
    life: int = -1
    is_wanted: bool = False
    carrier: ProcessCarrier | None = None

    @property
    def log(self) -> Path:
        """What its present life has said."""
        return self.directory / f"{self.name}-{self.life}.log"

    @property
    def works(self) -> bool:
        """Whether this worker has got as far as to do its work."""
        return self.log.exists() and b"worker: running" in self.log.read_bytes()

    def start(self) -> None:
        """Begin a new life."""
        self.life += 1
        told = dict(self.environment)
        if self.database_url:
            role = f"{self.name}-{self.life}"
            told |= {
                "MEERKAT_WORKER_ID": role,
                "MEERKAT_DATABASE_URL": address_for(self.database_url, role),
            }
        program = Program(command=self.command, environment=told, log=str(self.log))
        self.carrier = ProcessCarrier(self.enclosure, program)
        self.carrier.start()
        self.is_wanted = True

    def kill(self) -> None:
        """SIGKILL it; it stays down until it is started."""
        self.is_wanted = False
        self._running().kill()

    def stop(self) -> str | None:
        """SIGTERM it; why it did not end well, if so."""
        self.is_wanted = False
        self._running().stop()
        trouble = self._running().trouble() or ""
        return None if trouble.startswith(WELL) else trouble

    def pause(self) -> None:
        """SIGSTOP it."""
        self._running().pause()

    def resume(self) -> None:
        """SIGCONT it."""
        self._running().resume()

    def trouble(self) -> str | None:
        """Why it is not running though it should."""
        return self._running().trouble() if self.is_wanted else None

    def _running(self) -> ProcessCarrier:
        assert self.carrier is not None, f"{self.name} was never started"
        return self.carrier


@dataclass(slots=True)
class Stage:
    """Everything that can be at fault."""

    broker: RabbitMQ
    database: PostgreSQL
    publish_url: str
    proxies: dict[Wire, Proxy]
    members: dict[str, Member]
    deaths: list[Death] = field(default_factory=list)

    async def start(self) -> None:
        """Start all processes, and wait until the workers work."""
        for member in self.members.values():
            member.start()
        workers = [self.members[name] for name in WORKERS]
        await eventually(
            lambda: all(worker.works for worker in workers), START_SECONDS, "the workers work"
        )

    async def watch(self) -> None:
        """Start again what ends by itself, as a supervisor does, and remember it.

        One that ends because a service that it needs is away does as it should.
        """
        while True:
            for member in self.members.values():
                trouble = member.trouble()
                if trouble is not None:
                    if not trouble.startswith(UNUSABLE):
                        self.deaths.append(Death(member.name, member.life, trouble))
                    member.start()
            await asyncio.sleep(0.5)

    async def stopped(self, name: str) -> None:
        """End a process in good order, as a deployment does; it stays down until it is started."""
        member = self.members[name]
        why = await asyncio.to_thread(member.stop)
        if why is not None and not why.startswith(UNUSABLE):
            self.deaths.append(Death(name, member.life, why))

    async def heal(self) -> None:
        """Make every connection a good one."""
        for proxy in self.proxies.values():
            await proxy.heal()

    async def stop(self) -> list[Death]:
        """End all processes in good order; those that did not."""
        members = list(self.members.values())
        endings = await asyncio.gather(*(asyncio.to_thread(member.stop) for member in members))
        return [
            Death(member.name, member.life, why)
            for member, why in zip(members, endings, strict=True)
            if why is not None
        ]


@asynccontextmanager
async def staged(
    broker: RabbitMQ,
    database: PostgreSQL,
    database_url: str,
    directory: Path,
    terms: Terms,
) -> AsyncIterator[Stage]:
    """Set the stage; its processes are not started yet."""
    async with AsyncExitStack() as stack:
        enclosure = stack.enter_context(Enclosure("chaos"))
        amqp_url = f"{broker.url}?heartbeat={HEARTBEAT}"
        proxies: dict[Wire, Proxy] = {}
        for name in (*WORKERS, *EXECUTORS, PUBLISHERS):
            proxy = await stack.enter_async_context(Proxy.before(amqp_url))
            proxies[Wire(name, BROKER)] = proxy
        for name in WORKERS:
            proxy = await stack.enter_async_context(Proxy.before(database_url))
            proxies[Wire(name, DATABASE)] = proxy
        cast = _Casting(enclosure, directory, proxies, amqp_url, database_url, terms)
        members = {name: cast.worker(name) for name in WORKERS}
        members |= {name: cast.executor(name) for name in EXECUTORS}
        publish_url = proxies[Wire(PUBLISHERS, BROKER)].address(amqp_url)
        yield Stage(broker, database, publish_url, proxies, members)


@dataclass(frozen=True, slots=True)
class _Casting:
    enclosure: Enclosure
    directory: Path
    proxies: Mapping[Wire, Proxy]
    amqp_url: str
    database_url: str
    terms: Terms

    def worker(self, name: str) -> Member:
        url = self.proxies[Wire(name, DATABASE)].address(self.database_url)
        bug = self.terms.sabotage
        program = ("worker.cli",) if bug is None else ("tests.chaos.sabotage", bug)
        return self._member(name, (*program, "run"), url)

    def executor(self, name: str) -> Member:
        return self._member(name, ("worker.cli", "executor", AGENT))

    def _member(self, name: str, program: tuple[str, ...], database_url: str = "") -> Member:
        told = {
            **SETTINGS,
            "AMQP_URL": self.proxies[Wire(name, BROKER)].address(self.amqp_url),
            "BLOBS": str(self.directory / "blobs"),
            "LAYOUT": self.terms.layout,
        }
        environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
        environment |= {f"MEERKAT_{key}": value for key, value in told.items()}
        command = (sys.executable, "-m", *program)
        return Member(name, self.enclosure, self.directory, command, environment, database_url)
