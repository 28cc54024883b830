"""Plan: which faults happen to whom, when and for how long; drawn from a seed and nothing else."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

WORKERS: Final = ("w1", "w2", "w3")
EXECUTORS: Final = ("e1", "e2")
PUBLISHERS: Final = "publishers"
BROKER: Final = "broker"
DATABASE: Final = "database"


class Fault(enum.StrEnum):
    """What is done to a process, to a service, or to a connection."""

    KILL = "kill -9"
    STOP = "stop in good order"
    PAUSE = "pause"
    CUT = "cut"
    HALF_CLOSE_REQUESTS = "half close, to the service"
    HALF_CLOSE_ANSWERS = "half close, from the service"
    STALL = "stall both ways"
    STALL_REQUESTS = "stall one way, to the service"
    STALL_ANSWERS = "stall one way, from the service"
    REFUSE = "refuse connections"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection: of a process, to a service."""

    process: str
    service: str

    def __str__(self) -> str:
        return f"{self.process} to {self.service}"


Target = str | Wire
"""A process or a service by its name, or a connection."""


@dataclass(frozen=True, slots=True)
class Act:
    """One fault: ``begins`` counts seconds from the start of the load; ``lasts`` seconds."""

    begins: float
    lasts: float
    fault: Fault
    target: Target

    @property
    def ends(self) -> float:
        """When it is over."""
        return self.begins + self.lasts

    @property
    def kind(self) -> str:
        """What is counted together: the fault, and what sort of thing it happened to."""
        match self.target:
            case Wire(service=service):
                return f"{self.fault}, connection to {service}"
            case _:
                return f"{self.fault}, {_sort(self.target)}"

    def __str__(self) -> str:
        return f"{self.begins:6.1f} s  {self.fault}: {self.target}, for {self.lasts:.1f} s"


def _sort(name: str) -> str:
    if name in WORKERS:
        return "worker"
    return "executor" if name in EXECUTORS else name


@dataclass(frozen=True, slots=True)
class Card:
    """A fault that may be drawn: to whom, and between how many seconds it lasts."""

    fault: Fault
    targets: tuple[Target, ...]
    shortest: float
    longest: float
    copies: int = 1


_TO_BROKER: Final = tuple(Wire(name, BROKER) for name in (*WORKERS, *EXECUTORS, PUBLISHERS))
_OF_WORKERS: Final = tuple(Wire(name, BROKER) for name in WORKERS)
_TO_DATABASE: Final = tuple(Wire(name, DATABASE) for name in WORKERS)

# A broker counts two heartbeats (2 s each here) and workers count 3 s of silence: what is paused
# or stalled for more than about six seconds is replaced meanwhile.
DECK: Final = (
    Card(Fault.KILL, WORKERS, 0.2, 3.0, copies=4),
    Card(Fault.KILL, EXECUTORS, 0.2, 3.0, copies=2),
    Card(Fault.KILL, (BROKER,), 0.0, 2.0, copies=2),
    Card(Fault.KILL, (DATABASE,), 0.0, 6.0, copies=2),
    Card(Fault.STOP, (*WORKERS, *EXECUTORS), 1.0, 4.0, copies=2),
    Card(Fault.PAUSE, WORKERS, 6.0, 11.0, copies=3),
    Card(Fault.PAUSE, EXECUTORS, 4.0, 8.0),
    Card(Fault.PAUSE, (BROKER,), 1.0, 7.0),
    Card(Fault.PAUSE, (DATABASE,), 1.0, 7.0),
    Card(Fault.CUT, (*_TO_BROKER, *_TO_DATABASE), 0.0, 0.0, copies=3),
    Card(Fault.HALF_CLOSE_REQUESTS, (*_TO_BROKER, *_TO_DATABASE), 0.0, 0.0),
    Card(Fault.HALF_CLOSE_ANSWERS, (*_TO_BROKER, *_TO_DATABASE), 0.0, 0.0),
    Card(Fault.STALL, (*_OF_WORKERS, *_TO_DATABASE), 5.0, 9.0, copies=2),
    Card(Fault.STALL_REQUESTS, (*_TO_BROKER, *_TO_DATABASE), 5.0, 9.0),
    Card(Fault.STALL_ANSWERS, (*_TO_BROKER, *_TO_DATABASE), 5.0, 9.0),
    Card(Fault.REFUSE, (*_TO_BROKER, *_TO_DATABASE), 2.0, 8.0),
    Card(Fault.LATENCY, (*_TO_BROKER, *_TO_DATABASE), 3.0, 6.0),
)

SETTLING: Final = 2.0
"""No fault in the first seconds: RabbitMQ loses a quorum queue that is killed in its first one."""

CALM: Final = 4.0
"""Seconds between two outages of a service as a whole: without any, nothing would be processed."""


GAP: Final = 2.2
"""Seconds from the beginning of one fault to that of the next, on average."""


def planned(seed: int, seconds: float) -> tuple[Act, ...]:
    """Draw a plan for so many seconds of load.

    Every card is drawn about equally often. What is at fault already is left alone, and no two
    services are away at once; everything else may overlap.
    """
    random = Random(seed)  # noqa: S311 - it is to be foreseen
    acts: list[Act] = []
    cards = _dealt(random)
    at = SETTLING
    while at < seconds:
        act = _drawn(random, next(cards), at)
        if act.ends < seconds and not any(_collide(act, earlier) for earlier in acts):
            acts.append(act)
        at += random.uniform(0.2, 2 * GAP - 0.2)
    return tuple(acts)


def _dealt(random: Random) -> Iterator[Card]:
    cards = [card for card in DECK for _ in range(card.copies)]
    while True:
        yield from random.sample(cards, len(cards))


def _drawn(random: Random, card: Card, at: float) -> Act:
    lasts = random.uniform(card.shortest, card.longest)
    return Act(round(at, 2), round(lasts, 2), card.fault, random.choice(card.targets))


def _collide(act: Act, earlier: Act) -> bool:
    if act.target == earlier.target:
        return act.begins < earlier.ends + 1
    if {act.target, earlier.target} <= {BROKER, DATABASE}:
        return act.begins < earlier.ends + CALM
    return False


def counted(acts: Sequence[Act]) -> dict[str, int]:
    """Count faults by kind, the most frequent first."""
    return dict(Counter(act.kind for act in acts).most_common())
