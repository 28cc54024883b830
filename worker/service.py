"""The service: a worker process, from its settings to its exit."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from worker.health import Health, serving
from worker.metrics import Metrics
from worker.settings import Settings
from worker.wiring import connected, wire


async def serve(settings: Settings, *, executor: str | None = None) -> None:
    """Run a worker process until SIGTERM or SIGINT. See ``connected`` for what can be wrong."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    metrics, health = Metrics(), Health()
    health.expect("worker", "broker", "database")
    async with contextlib.AsyncExitStack() as stack:
        connections = await stack.enter_async_context(connected(settings))
        worker = wire(settings, connections, metrics, health)
        await worker.declarer.shared()
        health.up("database")
        connections.consuming.observe(
            lambda up: health.up("broker") if up else health.down("broker", "no connection")
        )
        if settings.health_port:
            await stack.enter_async_context(
                serving(health, metrics, settings.health_host, settings.health_port)
            )
        await worker.run(stop)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the event; the second one ends the process at once.

    Nothing is lost by that: what is not committed was not acked.
    """
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ask)
