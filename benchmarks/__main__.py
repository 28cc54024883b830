"""``python -m benchmarks``: how fast, as ratios."""

from __future__ import annotations

import asyncio

from benchmarks import admission
from worker.sandbox import start_rabbitmq

if __name__ == "__main__":
    with start_rabbitmq(private=True) as broker:
        for letter, results in asyncio.run(
            admission.rounds(broker.url, messages=20_000, times=3)
        ).items():
            print(letter, round(admission.rate(results)))
