"""A contest: a peer's processes on a queue that is full when they begin."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from secrets import token_hex
from signal import SIGTERM
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.messages import TEXT, runtime_ids
from benchmarks.peers import work
from benchmarks.peers.peer import Peer
from benchmarks.services import Services
from benchmarks.stage import ROOT
from tests.support.eventually import eventually
from worker.broker.connection import Connection
from worker.broker.inspect import queue_facts
from worker.clock import new_id
from worker.sandbox import drop_database
from worker.sandbox.enclosure import Enclosure, Program, clean_environment

START_SECONDS: Final = 60.0
WORK_SECONDS: Final = 120.0
END_SECONDS: Final = 15.0
LOG: Final = "peer.log"

_SPAN: Final = """
    SELECT count(*) AS done, count(DISTINCT worker) AS workers,
        max(pg_xact_commit_timestamp(xmin)) - min(began) AS span
    FROM work
"""


async def rate(peer: Peer, services: Services, messages: int) -> float:
    """Messages a second, from the first one taken in hand to the last commit."""
    amqp_url, server = services.amqp_url, services.server
    database = await server.create_database()
    plain = urlunsplit(urlsplit(database)._replace(scheme="postgresql"))
    connection = await asyncpg.connect(plain)
    await connection.execute(work.TABLE)
    queue = f"peer-{token_hex(6)}"
    told = {
        work.AMQP: amqp_url,
        work.DATABASE: plain,
        work.QUEUE: queue,
        work.CONNECTIONS: str(peer.connections),
        "PYTHONPATH": str(ROOT),
    }
    await _load(peer, told, messages)
    await eventually(lambda: _holds(amqp_url, queue, messages), WORK_SECONDS, "all is in the queue")
    with Enclosure("peer") as enclosure:
        gate = enclosure.directory
        for command in peer.commands:
            enclosure.spawn(
                Program(
                    command=command,
                    environment={**clean_environment(), **told, work.GATE: str(gate)},
                    log=LOG,
                    last_signal=SIGTERM,  # the last acks are to go out
                )
            )
        try:
            await eventually(lambda: _ready(gate) >= peer.gates, START_SECONDS, "all at the gate")
            (gate / "open").touch()
            await eventually(lambda: _done(connection, messages), WORK_SECONDS, "all work is done")
        except AssertionError:
            print((gate / LOG).read_text(errors="replace"))
            raise
    # What was not acked has come back when its takers have ended.
    await eventually(lambda: _holds(amqp_url, queue, 0), END_SECONDS, "all was acked")
    row = await connection.fetchrow(_SPAN)
    await connection.close()
    await drop_database(server.url, database)
    assert row["done"] == messages, f"{row['done']} rows of {messages}"
    assert row["workers"] > 1, "one process did it all"
    return float(messages / row["span"].total_seconds())


async def _load(peer: Peer, told: dict[str, str], messages: int) -> None:
    runtimes = runtime_ids(100)
    lines = (f"{new_id()}\t{runtimes[n % 100]}\t{TEXT}\n" for n in range(messages))
    process = await asyncio.create_subprocess_exec(
        *peer.loading, cwd=ROOT, env={**os.environ, **told}, stdin=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WORK_SECONDS):
        await process.communicate("".join(lines).encode())
    assert process.returncode == 0, f"loading ended with {process.returncode}"


def _ready(gate: Path) -> int:
    return len(list(gate.glob("ready-*")))


async def _done(connection: asyncpg.Connection, messages: int) -> bool:
    await asyncio.sleep(0.1)  # A count costs the server what the peers could use.
    return bool(await connection.fetchval("SELECT count(*) FROM work") >= messages)


async def _holds(amqp_url: str, queue: str, messages: int) -> bool:
    connection = await Connection.open(amqp_url, "benchmark")
    try:
        facts = await queue_facts(connection, queue)
    finally:
        await connection.close()
    return facts is not None and facts.ready == messages
