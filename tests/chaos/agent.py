"""The agent of the campaign: it takes some milliseconds, stumbles when told to, and keeps count.

Its session is a chain of digests over the ids of the inputs that it applied, in order. Whatever is
applied twice, left out or out of order breaks the chain, for the checker to see. It decides by what
it is asked and by nothing else, so that two executors that perform one run do the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from schemas.content import Text
from schemas.runs import Append
from worker.executor import Executor, Fatal, Retryable, Run

STUMBLE: Final = "stumble"
"""Fails at the first attempt, before anything is applied."""
TRIP: Final = "trip"
"""Fails at the first attempt, when half of the run's inputs are applied."""
HOPELESS: Final = "hopeless"
"""Fails for good."""

START: Final = "0" * 64

executor = Executor()


def linked(chain: str, ids: Iterable[UUID]) -> str:
    """Add inputs to the chain."""
    for each in ids:
        chain = hashlib.sha256(f"{chain}{each}".encode()).hexdigest()
    return chain


@executor.run
async def reckon(run: Run) -> int:
    """Apply the inputs in two halves."""
    await asyncio.sleep(run.run_id.int % 20 / 1000)
    said = " ".join(_text(append) for append in run.inputs)
    if HOPELESS in said:
        raise Fatal(HOPELESS)
    if STUMBLE in said and run.attempt == 1:
        raise Retryable(STUMBLE)
    chain = ((await run.snapshot()) or START.encode()).decode()
    middle = len(run.input_ids) // 2
    for part in (run.input_ids[:middle], run.input_ids[middle:]):
        if part:
            chain = linked(chain, part)
            await run.boundary(snapshot=chain.encode(), messages=len(part), inputs=part)
        if TRIP in said and run.attempt == 1:
            raise Retryable(TRIP)
    return len(run.input_ids)


def _text(append: Append) -> str:
    if isinstance(append.content, str):
        return append.content
    return " ".join(block.text for block in append.content if isinstance(block, Text))
