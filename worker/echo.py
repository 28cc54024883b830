"""A small agent for demonstrations: it says back what it is told, after a few milliseconds.

Start it with ``meerkat-worker executor worker.echo:executor``.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from schemas.content import Text
from schemas.runs import Append
from worker.executor import Executor, Run

THINKING_SECONDS: Final = 0.005

executor = Executor()


@executor.run
async def echo(run: Run) -> list[str]:
    """Append what is said to the conversation, and answer with it."""
    conversation: list[str] = msgspec.json.decode(await run.snapshot() or b"[]", type=list[str])
    await asyncio.sleep(THINKING_SECONDS)
    said = [_text(each) for each in run.inputs]
    conversation += said
    await run.boundary(snapshot=msgspec.json.encode(conversation), messages=len(conversation))
    return said


def _text(append: Append) -> str:
    if isinstance(append.content, str):
        return append.content
    return " ".join(
        block.text if isinstance(block, Text) else f"[{block.media_type}]"
        for block in append.content
    )
