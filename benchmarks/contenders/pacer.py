"""The pacer: a publisher that keeps an even beat, whatever the worker does.

Its messages are not confirmed, for that would cost it more than all else: the worker counts what
arrives. It prints how late it was at worst.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import islice
from time import monotonic
from typing import Final

import msgspec

from benchmarks.assignment import Pace
from benchmarks.messages import prompts
from worker import process
from worker.broker.announcements import Announcements
from worker.broker.link import Link

STEP_SECONDS: Final = 0.002
CONNECT_SECONDS: Final = 10.0
LAST_SECONDS: Final = 1.0
"""For what was announced last: it goes out some time soon."""


async def publish(told: Pace) -> float:
    """Publish everything on the beat; answers by how many seconds the latest step was late."""
    assignment = told.assignment
    messages = prompts(assignment.topology, assignment.runtimes, assignment.messages)
    size = max(1, round(told.per_second * STEP_SECONDS))
    dropped: list[int] = []
    async with (
        Link(assignment.url, "pacer") as link,
        Announcements(link, dropped=dropped.append) as out,
    ):
        await link.ready(deadline=CONNECT_SECONDS)
        beat, latest = monotonic(), 0.0
        # Messages are stamped as they are taken.
        while step := list(islice(messages, size)):
            latest = max(latest, monotonic() - beat)
            for message in step:
                out.announce(message)
            beat += size / told.per_second
            await asyncio.sleep(beat - monotonic())
        await asyncio.sleep(LAST_SECONDS)
    assert sum(dropped) == 0, f"{sum(dropped)} messages were not sent"
    return latest


if __name__ == "__main__":
    latest = process.run(publish(msgspec.json.decode(sys.argv[1], type=Pace)))
    print(latest)
