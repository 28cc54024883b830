"""The command line as a real process: what it was told, what it said, how it ended."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_DEADLINE = 60.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it said with ``--json``: one object a line."""
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self.out.splitlines()]


async def start(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    """Start ``meerkat-worker`` with these arguments and these variables on top of ours."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "worker.cli",
        *arguments,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=ROOT,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", **variables},
    )


async def finish(process: asyncio.subprocess.Process, said: str = "") -> Ended:
    """Say something to a command and wait for its end; one that does not end is killed."""
    try:
        async with asyncio.timeout(_DEADLINE):
            out, err = await process.communicate(said.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def meerkat(*arguments: str, said: str = "", **variables: str) -> Ended:
    """Run ``meerkat-worker`` to its end."""
    return await finish(await start(*arguments, **variables), said)
