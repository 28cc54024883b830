"""A process that serves: its event loop, and its memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")

YOUNG: Final = 10_000
"""New objects between two looks of the garbage collector; Python's default is 700."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a process that lives long: like ``asyncio.run``, and faster.

    On uvloop where it is installed. The garbage collector takes a fifth of a busy worker's time if
    it is let: what has been imported stays for good, so it need not look at that, and inputs come
    by the hundred and live until their commit, so it need not look so often.
    """
    with _patient_collector(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


@contextmanager
def _patient_collector() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
