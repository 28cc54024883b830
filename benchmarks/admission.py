"""Admission: how fast messages become durable, beside the bare client and the bare transaction.

Four contenders consume the same prompts from quorum queues of one private broker, loaded with
confirms beforehand; each in a fresh process, in turn, several rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.assignment import Result
from benchmarks.stage import stage


@dataclass(frozen=True, slots=True)
class Contender:
    """Who consumes, and from how many runtimes' queues."""

    letter: str
    name: str
    module: str
    runtimes: int


CONTENDERS: Final = (
    Contender("a", "aio-pika, ack per 100", "benchmarks.contenders.bare", 1),
    Contender("b", "a + executemany + commit", "benchmarks.contenders.transaction", 1),
    Contender("c", "this worker, 100 runtimes", "benchmarks.contenders.meerkat", 100),
    Contender("d", "this worker, 1 runtime", "benchmarks.contenders.meerkat", 1),
)


async def rounds(url: str, *, messages: int, times: int) -> dict[str, list[Result]]:
    """Have all contenders perform in turn, so many times."""
    results: dict[str, list[Result]] = {one.letter: [] for one in CONTENDERS}
    for _ in range(times):
        for one in CONTENDERS:
            async with stage(url, runtimes=one.runtimes, messages=messages) as ready:
                await ready.load()
                results[one.letter].append(await ready.perform(one.module))
    return results


def rate(results: list[Result]) -> float:
    """The median rate, messages a second."""
    return median(result.rate for result in results)
