"""Health: what each part of a process says of itself, served with the metrics on one port."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.listening import answering, listen
from worker.masking import masked
from worker.metrics import CONTENT_TYPE, Metrics

_READY: Final = 200
_NOT_READY: Final = 503


class PartState(enum.StrEnum):
    """How a part is doing. A process is ready when every part is ``up`` or ``degraded``."""

    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    DRAINING = "draining"


class Part(msgspec.Struct, frozen=True):
    """A part's last word: its state, why, and since when."""

    state: PartState
    reason: str
    since: datetime


class Health:
    """Where the parts of a process report: broker, database, blobs, ...

    A part is known from its first report on, so ``expect`` names those that must report before the
    process can be ready.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    @property
    def parts(self) -> dict[str, Part]:
        """Every part's last word."""
        return dict(self._parts)

    @property
    def ready(self) -> bool:
        """Whether the process does its work now."""
        good = {PartState.UP, PartState.DEGRADED}
        return bool(self._parts) and all(part.state in good for part in self._parts.values())

    def expect(self, *names: str) -> None:
        """Name parts that are starting."""
        for name in names:
            self._say(name, PartState.STARTING, "starting")

    def up(self, name: str, reason: str = "") -> None:
        """Report that a part works."""
        self._say(name, PartState.UP, reason)

    def degraded(self, name: str, reason: str) -> None:
        """Report that a part works worse than it should."""
        self._say(name, PartState.DEGRADED, reason)

    def down(self, name: str, reason: str) -> None:
        """Report that a part does not work, and why."""
        self._say(name, PartState.DOWN, reason)

    def draining(self, name: str, reason: str = "stopping") -> None:
        """Report that a part finishes what it has and takes nothing more."""
        self._say(name, PartState.DRAINING, reason)

    def _say(self, name: str, state: PartState, reason: str) -> None:
        before = self._parts.get(name)
        since = before.since if before and before.state is state else datetime.now(UTC)
        self._parts[name] = Part(state, masked(reason), since)


@contextlib.asynccontextmanager
async def serving(health: Health, metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Serve ``/live``, ``/ready`` and ``/metrics`` while the context lasts; yields the port.

    Port 0 takes any free one; a process that wants none does not enter this context.

    Raises:
        PortError: The address is in use or not ours.
    """
    remedy = "set MEERKAT_HEALTH_PORT to a free port, or to 0 for none"
    listener = listen(host, port, part="health", remedy=remedy)
    async with answering(_app(health, metrics), listener, "health") as taken:
        yield taken


def _app(health: Health, metrics: Metrics) -> Starlette:
    async def live(_request: Request) -> Response:
        return _json(_READY, {"live": True})

    async def ready(_request: Request) -> Response:
        code = _READY if health.ready else _NOT_READY
        return _json(code, {"ready": health.ready, "parts": health.parts})

    async def exposition(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return Starlette(
        routes=[Route("/live", live), Route("/ready", ready), Route("/metrics", exposition)]
    )


def _json(code: int, answer: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(answer), code, media_type="application/json")
