"""Wait for a promise to come true, with a deadline, instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

_POLL_SECONDS = 0.02

T = TypeVar("T")


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T | None]], deadline: float = ..., promise: str = ...
) -> T: ...


@overload
async def eventually(
    predicate: Callable[[], T | None], deadline: float = ..., promise: str = ...
) -> T: ...


async def eventually(
    predicate: Callable[[], Any], deadline: float = 30.0, promise: str = ""
) -> Any:
    """Return the first true answer of `predicate`.

    Args:
        predicate: asked again and again; may be a coroutine function.
        deadline: seconds after which the promise counts as broken.
        promise: what is waited for, in words, for the failure.

    Raises:
        AssertionError: no true answer in time; names the promise and the last answer.
    """
    end = time.monotonic() + deadline
    while True:
        answer = predicate()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > end:
            words = promise or getattr(predicate, "__qualname__", "the condition")
            raise AssertionError(f"not within {deadline:g} s: {words}; last answer: {value!r}")
        await asyncio.sleep(_POLL_SECONDS)
