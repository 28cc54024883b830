"""Shutdown: what SIGTERM and SIGINT mean to a process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from worker.exits import ExitCode

LEAVING_SECONDS: Final = 15.0
"""How long a process may take to let go of its connections, after it has finished its work."""

_ASKING: Final = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


@contextmanager
def stop_on_signals(stop: asyncio.Event, *, within: float | None = None) -> Iterator[None]:
    """Have the first signal set the event; the second one ends the process at once.

    Nothing is lost by that: what is not committed was not acked, and a run lives on its lease. So
    a process that has not ended ``within`` so many seconds of the first signal leaves at once by
    itself, and logs what it was waiting for.
    """
    loop = asyncio.get_running_loop()

    def let_go() -> None:
        for each in _ASKING:
            loop.remove_signal_handler(each)

    def ask() -> None:
        stop.set()
        let_go()
        for each in _ASKING:
            signal.signal(each, signal.SIG_DFL)
        if within is not None:
            timer = threading.Timer(within, _leave, (loop, within))
            timer.daemon = True
            timer.start()

    for each in _ASKING:
        loop.add_signal_handler(each, ask)
    try:
        yield
    finally:
        let_go()


def _leave(loop: asyncio.AbstractEventLoop, within: float) -> None:
    """End the process, whatever its event loop is doing."""
    waiting_for = [_described(task) for task in asyncio.all_tasks(loop)]
    log.error("stop: leaving at once", seconds=within, waiting_for=waiting_for)
    os._exit(ExitCode.OK)


def _described(task: asyncio.Task[object]) -> str:
    """Name a task, and where it stands: the innermost frame that it shows."""
    frames = task.get_stack(limit=1)
    where = f" at {frames[0].f_code.co_qualname}:{frames[0].f_lineno}" if frames else ""
    return f"{task.get_name()}{where}"
