"""Executors for tests."""

from __future__ import annotations

import asyncio

from worker.executor import Executor, Fatal, Run

sleeper = Executor()
slow = Executor()
hopeless = Executor()


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


@hopeless.run
async def fail_at_once(_run: Run) -> None:
    """Fail every run for good."""
    raise Fatal("nothing works here")
