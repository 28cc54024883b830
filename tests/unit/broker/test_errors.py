"""The border to the AMQP client: its errors become ours, and a cancellation is never lost there."""

from __future__ import annotations

import asyncio

import pytest

from worker.broker.errors import translated


async def test_a_cancellation_that_the_client_swallows_still_ends_the_task() -> None:
    """Python 3.11's wait_for returns the answer that meets a cancellation; we stop all the same."""
    began = asyncio.Event()

    async def answered_while_cancelled() -> None:
        with translated("asking"):
            try:
                began.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
        pytest.fail("went on after it was told to stop")

    task = asyncio.create_task(answered_while_cancelled())
    await began.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_cleaning_up_after_a_cancellation_goes_through() -> None:
    """A call made while the task is stopping already, to close a channel say, is not cut short."""
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def works_then_cleans_up() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            with translated("closing"):
                await asyncio.sleep(0)
            cleaned.set()

    task = asyncio.create_task(works_then_cleans_up())
    await began.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert cleaned.is_set()
