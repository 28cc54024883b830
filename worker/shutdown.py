"""Shutdown: what SIGTERM and SIGINT mean to a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ASKING: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Have the first signal set the event; the second one ends the process at once.

    Nothing is lost by that: what is not committed was not acked, and a run lives on its lease.
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

    for each in _ASKING:
        loop.add_signal_handler(each, ask)
    try:
        yield
    finally:
        let_go()
