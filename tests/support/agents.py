"""Executors for tests."""

from __future__ import annotations

import asyncio

from worker.executor import Executor, Run

sleeper = Executor()
slow = Executor()


@sleeper.run
async def sleep_for_ever(_run: Run) -> None:
    """Take runs and never finish one."""
    await asyncio.Event().wait()


@slow.run
async def take_some_seconds(run: Run) -> str:
    """Finish a run long after its worker was killed."""
    await asyncio.sleep(6)
    await run.boundary()
    return "done"
