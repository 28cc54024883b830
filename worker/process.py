"""A process that serves: its event loop, and its memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a process that lives long: like ``asyncio.run``, and faster.

    On uvloop where it is installed. What has been imported stays for good, so the garbage collector
    need not look at it: each full look takes a tenth of a second in which nothing else happens.
    """
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
