"""An assignment: what a contender is told, as one JSON argument, and the result that it prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter, process_time
from typing import Self

import msgspec

from schemas.ids import RuntimeId
from worker.broker.topology import Topology


class Assignment(msgspec.Struct, frozen=True):
    """What there is to be consumed, and where.

    Attributes:
        database: A SQLite file; made and, for the worker, migrated already.
        messages: How many are in the queues, or will come.
        warm: Whether each runtime gets one more before, which is not measured.
    """

    url: str
    namespace: str
    runtimes: tuple[RuntimeId, ...]
    messages: int
    database: str
    warm: bool = False

    @property
    def total(self) -> int:
        """How many messages come, those included that wake the runtimes."""
        return self.messages + (len(self.runtimes) if self.warm else 0)

    @property
    def topology(self) -> Topology:
        """The names on the broker."""
        return Topology(self.namespace)

    @property
    def queue(self) -> str:
        """The queue of the first runtime; the bare contenders consume no other."""
        return self.topology.queue_of(self.runtimes[0])


class Pace(msgspec.Struct, frozen=True):
    """What a publisher is told: the worker's assignment, and how many messages a second."""

    assignment: Assignment
    per_second: float


class Result(msgspec.Struct, frozen=True):
    """What a contender measured.

    Attributes:
        seconds: From the first delivery to the last ack.
        cpu_seconds: Processor time of all threads of its process, over the same span.
        p50_ms, p99_ms: Publish to commit, where messages came while it worked.
    """

    messages: int
    seconds: float
    cpu_seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def received() -> Assignment:
    """Read this process's assignment."""
    return msgspec.json.decode(sys.argv[1], type=Assignment)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of this process, or the span between two."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Self:
        """Look at both clocks."""
        return cls(perf_counter(), process_time())

    def passed(self) -> Moment:
        """Tell the span since then."""
        now = Moment.now()
        return Moment(now.seconds - self.seconds, now.cpu_seconds - self.cpu_seconds)


def report(messages: int, span: Moment, latencies_ms: Sequence[float] = ()) -> None:
    """Print the result; the last line of this process."""
    result = Result(messages, span.seconds, span.cpu_seconds)
    if latencies_ms:
        cuts = quantiles(latencies_ms, n=100)
        result = msgspec.structs.replace(result, p50_ms=cuts[49], p99_ms=cuts[98])
    print(msgspec.json.encode(result).decode())
