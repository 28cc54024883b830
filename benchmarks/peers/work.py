"""The work of a peer's task: one row, one commit, and only then the ack.

Each peer's module is a program as its users write them. It is told everything by the environment,
and stops at the gate while it is imported, until all processes of the peer have come so far.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import asyncpg

AMQP: Final = "BENCH_AMQP"
DATABASE: Final = "BENCH_DATABASE"
QUEUE: Final = "BENCH_QUEUE"
GATE: Final = "BENCH_GATE"
CONNECTIONS: Final = "BENCH_CONNECTIONS"

Work = tuple[str, str, str]
"""A message id, a runtime id, a text."""

TABLE: Final = """
    CREATE TABLE work (
        message_id text PRIMARY KEY,
        runtime_id text NOT NULL,
        text text NOT NULL,
        worker integer NOT NULL,
        -- The transaction's beginning: when the message was taken in hand.
        began timestamptz NOT NULL DEFAULT now()
    )
"""
_INSERT: Final = "INSERT INTO work (message_id, runtime_id, text, worker) VALUES ({}) {}"
_AGAIN: Final = "ON CONFLICT (message_id) DO NOTHING"
_PSYCOPG: Final = _INSERT.format("%s, %s, %s, %s", _AGAIN)
_ASYNCPG: Final = _INSERT.format("$1, $2, $3, $4", _AGAIN)


def told(name: str) -> str:
    """Read what this process was told."""
    return os.environ[name]


_making: Final = threading.Lock()


@cache
def _pool() -> Any:  # noqa: ANN401 - psycopg is installed beside the peers only
    from psycopg_pool import ConnectionPool  # noqa: PLC0415 - the same

    size = int(told(CONNECTIONS))
    # Autocommit: the statement is the transaction, in one round trip.
    return ConnectionPool(
        told(DATABASE), min_size=size, max_size=size, kwargs={"autocommit": True}, open=True
    )


def write(message_id: str, runtime_id: str, text: str) -> None:
    """Write and commit one row, from a thread. The pool is made at the first row: after a fork."""
    with _making:  # All threads come at once, and the pool is to be one.
        pool = _pool()
    with pool.connection() as connection:
        connection.execute(_PSYCOPG, (message_id, runtime_id, text, os.getpid()))


@cache
def _opening() -> asyncio.Task[Any]:
    size = int(told(CONNECTIONS))
    return asyncio.ensure_future(_open(size))


async def _open(size: int) -> Any:  # noqa: ANN401 - asyncpg has no types
    return await asyncpg.create_pool(told(DATABASE), min_size=size, max_size=size)


async def write_async(message_id: str, runtime_id: str, text: str) -> None:
    """Write and commit one row, from an event loop."""
    pool = await _opening()
    await pool.execute(_ASYNCPG, message_id, runtime_id, text, os.getpid())


def wait_at_gate() -> None:
    """Say that this process has come so far, and wait until the gate is opened."""
    gate = os.environ.get(GATE)
    if gate is None:
        return
    (Path(gate) / f"ready-{os.getpid()}").touch()
    while not (Path(gate) / "open").exists():
        time.sleep(0.005)


def work_to_load() -> Sequence[Work]:
    """Read from stdin what is to be put into the queue."""
    lines = (line.rstrip("\n").split("\t") for line in sys.stdin)
    return [(message_id, runtime_id, text) for message_id, runtime_id, text in lines]
