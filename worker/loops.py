"""Loops: things that a worker does again and again, as long as it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from store.errors import StoreError
from worker.broker.errors import BrokerError

log = structlog.get_logger()


async def repeat(
    action: Callable[[], Awaitable[object]],
    *,
    name: str,
    seconds: float,
    nudge: asyncio.Event | None = None,
    delay: bool = False,
) -> None:
    """Do something now and then every so many seconds, or at once when nudged.

    With ``delay`` the first time comes after the seconds too.

    A database or broker that is away is logged, and the next turn tries again; any other error
    ends the process, which is what starting anew is for.
    """
    if delay:
        await _pause(seconds, nudge)
    while True:
        try:
            await action()
        except (StoreError, BrokerError) as error:
            log.warning("loop: again later", loop=name, why=str(error))
        await _pause(seconds, nudge)


async def _pause(seconds: float, nudge: asyncio.Event | None) -> None:
    if nudge is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await nudge.wait()
    except TimeoutError:
        return
    nudge.clear()
