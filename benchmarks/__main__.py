"""``python -m benchmarks [WHAT ...] [--times N] [--messages N]``: how fast, as ratios.

A table for people on stdout, the same as JSON in ``benchmarks/results/`` (not kept in git). Only
the ratios of one run mean something: machines differ, and so does one machine from hour to hour.
``docs/benchmarks.md`` says what each one does.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from benchmarks import admission, driver, history, latency, postgresql, scale, workers
from benchmarks.ending import end_in_order
from benchmarks.report import Report, Rows, show
from benchmarks.services import Services, services
from benchmarks.sizes import FULL, TINY, Size
from worker.sandbox import start_rabbitmq

BASE: Final = "b"

ALONE: Final[dict[str, Callable[[Size], Report]]] = {
    "driver": lambda size: Report("driver", "The pure driver", driver_rows(size.times)),
    "admission": lambda size: Report(
        "admission", "Admission", admission_rows(size.messages, size.times)
    ),
    "latency": lambda size: Report(
        "latency", "Publish to commit", latency_rows(size.messages, size.times)
    ),
}
ON_SERVICES: Final[dict[str, Callable[[Services, Size], Report]]] = {
    "postgresql": postgresql.report,
    "workers": workers.report,
    "history": history.report,
    "scale": scale.report,
}


def main() -> None:
    """Run what was asked for, or everything."""
    known = [*ALONE, *ON_SERVICES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*known, []], metavar="WHAT", help=str(known))
    parser.add_argument("--times", type=int, help="rounds, in turn; medians are shown")
    parser.add_argument("--messages", type=int, help="messages a round")
    parser.add_argument("--tiny", action="store_true", help="only prove that it runs")
    parser.add_argument("--record", action="store_true", help="for docs/benchmarks.md")
    told = parser.parse_args()
    end_in_order()
    size = (TINY if told.tiny else FULL).told(told.times, told.messages)
    with ExitStack() as stack:
        started: list[Services] = []
        for name in told.what or known:
            if name in ALONE:
                found = ALONE[name](size)
            else:
                started = started or [stack.enter_context(services())]
                found = ON_SERVICES[name](started[0], size)
            show(found, record=told.record)


def driver_rows(times: int) -> Rows:
    """The driver's rates, and each beside the first."""
    driver.rates(1)  # Warms the caches of the interpreter: its first round is slower.
    found = driver.rates(times)
    first = next(iter(found.values()))
    return [
        {"what": name, "per second": round(rate), "ratio to the first": round(rate / first, 2)}
        for name, rate in found.items()
    ]


def admission_rows(messages: int, times: int) -> Rows:
    """What each contender reached, and its ratio to consume + executemany + commit."""
    with start_rabbitmq(private=True) as broker:
        found = asyncio.run(admission.rounds(broker.url, messages=messages, times=times))
    rates = {letter: admission.rate(results) for letter, results in found.items()}
    return [
        {
            "": one.letter,
            "what": one.name,
            "messages/s": round(rates[one.letter]),
            f"ratio to {BASE}": round(rates[one.letter] / rates[BASE], 2),
        }
        for one in admission.CONTENDERS
    ]


def latency_rows(messages: int, times: int) -> Rows:
    """How long a message takes at parts of the rate that can flow."""
    with start_rabbitmq(private=True) as broker:
        found = asyncio.run(latency.measured(broker.url, messages=messages, times=times))
    return [
        {
            "at": f"{one.part} of the rate",
            "what": one.what,
            "messages/s": round(one.messages_per_second),
            "p50 ms": round(one.p50_ms, 1),
            "p99 ms": round(one.p99_ms, 1),
        }
        for one in found
    ]


if __name__ == "__main__":
    main()
