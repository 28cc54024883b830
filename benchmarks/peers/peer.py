"""A peer: what it is called, how it is started, and with which settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

_PYTHON: Final = (sys.executable, "-m")
_APP: Final = "benchmarks.peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program beside which we are measured.

    Attributes:
        packages: Whose releases are to be named.
        settings: What a friend of it would want to know.
        commands: The processes that are started; some start more themselves.
        gates: How many processes import its program and so stop at the gate.
        connections: To the database, of each process that works.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    settings: str
    commands: tuple[tuple[str, ...], ...]
    gates: int
    connections: int

    @property
    def loading(self) -> tuple[str, ...]:
        """The command that puts work into its queue, the way it does that itself."""
        return (*_PYTHON, self.module, "load")


def _celery(pool: str, concurrency: int, connections: int) -> Peer:
    module = f"{_APP}.celery_app"
    command = (*_PYTHON, "celery", "-A", module, "worker", "-P", pool, "-c", str(concurrency))
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING")
    return Peer(
        f"Celery, {pool}",
        module,
        ("celery",),
        f"2 workers, -P {pool} -c {concurrency} each, acks_late, prefetch multiplier 10, quorum "
        "queue, no gossip, mingle, heartbeat, rate limits, remote control or results; psycopg pool",
        tuple((*command, "-n", f"worker-{number}@bench", *quiet) for number in (1, 2)),
        gates=2,
        connections=connections,
    )


def _dramatiq(threads: int) -> Peer:
    module = f"{_APP}.dramatiq_app"
    return Peer(
        "Dramatiq",
        module,
        ("dramatiq",),
        f"2 processes, {threads} threads each, prefetch as it comes (twice the threads), durable "
        "classic queue (it declares no other), no middleware but Retries and "
        "ShutdownNotifications; psycopg pool",
        ((*_PYTHON, "dramatiq", module, "--processes", "2", "--threads", str(threads)),),
        gates=2,
        connections=threads,
    )


def _taskiq(tasks: int) -> Peer:
    module = f"{_APP}.taskiq_app"
    command = (*_PYTHON, "taskiq", "worker", f"{module}:broker", "--workers", "2", "--no-parse")
    limits = ("--max-async-tasks", str(tasks), "--max-prefetch", str(tasks))
    quiet = ("--ack-type", "when_executed", "--log-level", "WARNING")
    return Peer(
        "Taskiq",
        module,
        ("taskiq", "taskiq-aio-pika"),
        f"2 workers, {tasks} tasks each, qos {10 * tasks}, ack when executed, quorum queue, no "
        "parsing, no results, uvloop; asyncpg pool",
        ((*command, *limits, *quiet),),
        gates=2,
        connections=tasks,
    )


def _faststream(connections: int) -> Peer:
    module = f"{_APP}.faststream_app"
    return Peer(
        "FastStream",
        module,
        ("faststream",),
        f"2 processes, prefetch {10 * connections}, ack policy nack_on_error, quorum queue, no "
        "logger, no type checks, uvloop; asyncpg pool",
        ((*_PYTHON, module), (*_PYTHON, module)),
        gates=2,
        connections=connections,
    )


PEERS: Final = (
    _celery("threads", 20, 20),
    _celery("prefork", 8, 1),
    _dramatiq(8),
    _taskiq(10),
    _faststream(10),
)
