"""``python -m benchmarks.peers``: the same messages, each durable before its ack, beside others."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from importlib.metadata import version
from statistics import median
from typing import Final

from benchmarks import workers
from benchmarks.ending import end_in_order
from benchmarks.peers import contest
from benchmarks.peers.peer import PEERS
from benchmarks.report import Report, beside, show
from benchmarks.services import Services, services
from benchmarks.sizes import FULL, TINY, Size

MESSAGES: Final = 5_000
OURS: Final = "this worker"
Rates = dict[str, list[float]]
_OURS: Final = (
    "2 workers, meerkat-worker run as it comes, 100 runtimes, prefetch 200 a queue, quorum queues; "
    "each message looked up, decided and committed with its history; group commit"
)


def main() -> None:
    """Have everyone perform in turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--times", type=int, help="rounds, in turn; medians are shown")
    parser.add_argument("--messages", type=int, help="messages a round")
    parser.add_argument("--tiny", action="store_true", help="only prove that it runs")
    parser.add_argument("--record", action="store_true", help="for docs/benchmarks.md")
    told = parser.parse_args()
    end_in_order()
    size = TINY if told.tiny else replace(FULL, messages=MESSAGES)
    with services() as ready:
        found = report(ready, size.told(told.times, told.messages))
    show(found, record=told.record)


def report(ready: Services, size: Size) -> Report:
    """Measure the peers and ourselves, in turn, so many times."""
    rates: Rates = {name: [] for name in (*(peer.name for peer in PEERS), OURS)}
    for _ in range(size.times):
        perform(ready, size, rates)
    return judged(rates, size)


def perform(ready: Services, size: Size, rates: Rates) -> None:
    """Have everyone perform once."""
    for peer in PEERS:
        rates[peer.name].append(asyncio.run(contest.rate(peer, ready, size.messages)))
    rates[OURS].append(asyncio.run(workers.rate(ready, size, 2)))


def judged(rates: Rates, size: Size) -> Report:
    """Set everyone beside the best of the peers, with their settings."""
    settings = {peer.name: f"{_released(peer.packages)}; {peer.settings}" for peer in PEERS}
    settings[OURS] = _OURS
    best = max(median(rates[peer.name]) for peer in PEERS)
    rows = beside(rates, best, "ratio to the best peer")
    rows = [{**row, "settings": settings[row["what"]]} for row in rows]
    return Report("peers", "Peers", rows, _notes(size))


def _released(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages)


def _notes(size: Size) -> tuple[str, ...]:
    return (
        (
            f"{size.messages:,} messages with 200 bytes of text, persistent, in the queue before "
            f"anyone begins; medians of {size.times} rounds, in turn; two processes each "
            "(Celery's prefork: two parents that take the messages for their children)."
        ),
        (
            "Peers: one INSERT a message into a table with a primary key, in a transaction of its "
            "own (one round trip), then the ack."
        ),
        (
            "Time: from the first message taken in hand to the last commit, as PostgreSQL dates "
            "it; imports are done before. All share PostgreSQL (fsync on), RabbitMQ and the cores."
        ),
    )


if __name__ == "__main__":
    main()
