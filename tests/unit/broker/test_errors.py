"""The border to the AMQP client: its errors become ours, and a cancellation is never lost there."""

from __future__ import annotations

import asyncio

import pytest
from aiormq.exceptions import ConnectionClosed

from worker.broker.errors import reason_of, translated


def test_a_code_of_amqp_is_no_error_of_the_system() -> None:
    """The client's errors are the system's by kind, with the broker's code and words."""
    assert reason_of(ConnectionClosed(320, "CONNECTION_FORCED - bye")) == "CONNECTION_FORCED - bye"
    assert reason_of(ConnectionRefusedError(111, "in the loop's words")) == "Connection refused"


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
