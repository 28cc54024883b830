"""``workers``: who is alive, and who consumes what."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from store.ports import WorkerPresence
from worker.cli.options import STORE, Json, settings_flags
from worker.cli.output import json_lines, table
from worker.cli.reading import opened
from worker.cli.root import noun
from worker.clock import now
from worker.settings import Settings

app = noun("workers")


@app.callback()
def workers() -> None:
    """Look at the workers that share the queues."""


@app.command("list")
@settings_flags(*STORE)
def list_(
    *,
    queues: Annotated[bool, typer.Option("--queues", help="Name each queue.")] = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """List workers as they last said of themselves: when, and what they consume.

    A worker that ended in good order is not listed. One that was killed stays listed, silent.

    Example:  meerkat-worker workers list --queues
    """
    found = asyncio.run(_list(settings))
    if as_json:
        json_lines(_as_json(one) for one in found)
    elif queues:
        rows = ((queue, one.worker_id) for one in found for queue in one.queues)
        table("queues", ("queue", "worker"), sorted(rows))
    else:
        columns = ("worker", "host", "started", "silent for", "queues")
        table("workers", columns, (_row(one) for one in found))


async def _list(settings: Settings) -> list[WorkerPresence]:
    async with opened(settings) as store:
        return await store.workers()


def _silence(one: WorkerPresence) -> float:
    return round(max(0.0, (now() - one.heartbeat_at).total_seconds()), 1)


def _row(one: WorkerPresence) -> tuple[object, ...]:
    return one.worker_id, one.host, one.started_at, f"{_silence(one)} s", len(one.queues)


def _as_json(one: WorkerPresence) -> dict[str, Any]:
    return {
        "worker_id": one.worker_id,
        "host": one.host,
        "started_at": one.started_at,
        "heartbeat_at": one.heartbeat_at,
        "silent_seconds": _silence(one),
        "queues": one.queues,
    }
