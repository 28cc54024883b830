"""Faults: carrying out a plan on a stage, each act at its time and undone at its end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Final, Protocol

from tests.chaos.plan import BROKER, DATABASE, Act, Fault, Target, Wire
from tests.chaos.stage import Stage
from worker.sandbox import Direction, Node, Proxy, ServiceUnavailable

TRIES: Final = 10
LATENCY: Final = 0.15
"""Seconds by which each piece of data is late, in each direction."""


class Switch(Protocol):
    """A process or a service that can be killed, started, paused and resumed; all of it blocks."""

    def start(self) -> None:
        """Start it again."""

    def kill(self) -> None:
        """SIGKILL it."""

    def pause(self) -> None:
        """SIGSTOP it."""

    def resume(self) -> None:
        """SIGCONT it."""


@dataclass(frozen=True, slots=True)
class Done:
    """An act as it was carried out: when it really began and was over, in seconds of the load."""

    act: Act
    began: float
    over: float


@dataclass(slots=True)
class Injector:
    """Carries out acts, several at once where they overlap.

    Attributes:
        began: When the load began, on the monotonic clock.
        tell: Told of each act as it begins.
        done: What was carried out; an act that found its target gone is not among it.
    """

    stage: Stage
    began: float
    tell: Callable[[str], None]
    done: list[Done] = field(default_factory=list)
    _busy: defaultdict[Target, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def carry_out(self, plan: Sequence[Act]) -> None:
        """Carry out a plan to its end."""
        async with asyncio.TaskGroup() as group:
            for act in plan:
                group.create_task(self._act(act), name=str(act))

    async def _act(self, act: Act) -> None:
        await asyncio.sleep(self.began + act.begins - monotonic())
        async with self._busy[act.target]:  # A broker may take its time to come back.
            since = self._now()
            self.tell(str(act))
            try:
                await self._harm(act)
            except ServiceUnavailable:
                if act.target in {BROKER, DATABASE}:
                    raise
                return  # It had ended by itself, and is being started again.
            self.done.append(Done(act, since, self._now()))

    async def _harm(self, act: Act) -> None:
        stage = self.stage
        match act.target:
            case Wire():
                await _disturb(stage.proxies[act.target], act)
            case "broker":
                await _switch(stage.broker, act)
            case "database":
                await _switch(stage.database, act)
            case name if act.fault is Fault.STOP:
                await stage.stopped(name)
                await asyncio.sleep(act.lasts)
                stage.members[name].start()
            case name:
                await _switch(stage.members[name], act)

    def _now(self) -> float:
        return round(monotonic() - self.began, 2)


async def _switch(switch: Switch, act: Act) -> None:
    """Kill and start, or pause and resume."""
    if act.fault is Fault.KILL:
        await asyncio.to_thread(switch.kill)
        await asyncio.sleep(act.lasts)
        await asyncio.to_thread(switch.start)
    else:
        await asyncio.to_thread(switch.pause)
        await asyncio.sleep(act.lasts)
        await asyncio.to_thread(switch.resume)
    if isinstance(switch, Node):
        await asyncio.to_thread(_answering, switch)


def _answering(node: Node) -> None:
    """Wait until a service answers, starting it again if need be.

    PostgreSQL refuses to start while a process that its last life left behind still lives.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            node.wait_ready()
        except ServiceUnavailable:
            if not tries_left:
                raise
            sleep(0.5)
            node.start()
        else:
            return


async def _disturb(proxy: Proxy, act: Act) -> None:
    _DISTURBANCES[act.fault](proxy)
    if act.lasts:
        await asyncio.sleep(act.lasts)
        await proxy.heal()


_DISTURBANCES: Final[dict[Fault, Callable[[Proxy], None]]] = {
    Fault.CUT: Proxy.cut,
    Fault.HALF_CLOSE_REQUESTS: lambda proxy: proxy.half_close(Direction.TO_SERVICE),
    Fault.HALF_CLOSE_ANSWERS: lambda proxy: proxy.half_close(Direction.TO_CLIENT),
    Fault.STALL: Proxy.stall,
    Fault.STALL_REQUESTS: lambda proxy: proxy.stall({Direction.TO_SERVICE}),
    Fault.STALL_ANSWERS: lambda proxy: proxy.stall({Direction.TO_CLIENT}),
    Fault.REFUSE: Proxy.refuse,
    Fault.LATENCY: lambda proxy: proxy.latency(LATENCY),
}
"""What each fault is to a connection; processes and services are killed and paused instead."""
