"""``python -m benchmarks [WHAT ...] [--times N] [--messages N]``: how fast, as ratios.

WHAT is ``driver``, ``admission`` or ``latency``; without it, all of them.

A table for people on stdout, the same as JSON in ``benchmarks/results/`` (not kept in git). Only
the ratios of one run mean something: machines differ, and so does one machine from hour to hour.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import admission, driver, latency
from worker.cli.output import table
from worker.sandbox import start_rabbitmq

RESULTS: Final = Path(__file__).parent / "results"
BASE: Final = "b"
Rows = list[dict[str, object]]


def main() -> None:
    """Run what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="*", choices=["admission", "driver", "latency", []], metavar="WHAT"
    )
    parser.add_argument("--times", type=int, default=3, help="rounds, in turn; medians are shown")
    parser.add_argument("--messages", type=int, default=20_000, help="messages a round")
    told = parser.parse_args()
    wanted = told.what or ["driver", "admission", "latency"]
    if "driver" in wanted:
        _show("driver", "The pure driver", driver_rows(told.times))
    if "admission" in wanted:
        _show("admission", "Admission", admission_rows(told.messages, told.times))
    if "latency" in wanted:
        _show("latency", "Publish to commit", latency_rows(told.messages, told.times))


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
    """How long a message takes at half of the highest rate."""
    with start_rabbitmq(private=True) as broker:
        found = asyncio.run(latency.measured(broker.url, messages=messages, times=times))
    return [
        {
            "what": f"this worker, {latency.RUNTIMES} runtimes, at half of its rate",
            "messages/s": round(found.messages_per_second),
            "p50 ms": round(found.p50_ms, 1),
            "p99 ms": round(found.p99_ms, 1),
        }
    ]


def _show(name: str, title: str, rows: Rows) -> None:
    table(title, list(rows[0]), _cells(rows))
    RESULTS.mkdir(exist_ok=True)
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    found = {"at": at, "python": platform.python_version(), "rows": rows}
    (RESULTS / f"{name}-{at}.json").write_bytes(msgspec.json.encode(found))


def _cells(rows: Rows) -> Iterable[Sequence[object]]:
    return (list(row.values()) for row in rows)


if __name__ == "__main__":
    main()
