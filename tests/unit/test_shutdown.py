"""A process that was told to stop ends in time, whatever it still waits for."""

from __future__ import annotations

import asyncio
import signal
import sys

from tests.support.commands import ROOT, finish

STUCK = """
import asyncio
from worker.shutdown import stop_on_signals

async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def main():
    stop = asyncio.Event()
    with stop_on_signals(stop, within=0.3):
        asyncio.create_task(deaf(), name="the deaf one")
        print("ready", flush=True)
        await stop.wait()

asyncio.run(main())
"""


async def test_what_does_not_end_is_left_behind_and_named() -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUCK, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    ended = await finish(process)
    assert ended.code == 0, ended.err
    assert "leaving at once" in ended.out
    assert "the deaf one at deaf" in ended.out
