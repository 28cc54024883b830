"""The service: a worker process, from its settings to its exit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from worker.broker.connection import Connection
from worker.executor import Executor, load
from worker.health import Health, serving
from worker.metrics import Metrics
from worker.observation import Observation
from worker.settings import Settings
from worker.shutdown import LEAVING_SECONDS, stop_on_signals
from worker.wiring import Connections, connected, wire


async def serve(settings: Settings, *, executor: str | None = None) -> None:
    """Run a worker process until SIGTERM or SIGINT; see ``connected`` for what can be wrong.

    Args:
        settings: What it is told.
        executor: ``module:name`` of an executor to run inside the process, for small set-ups.
    """
    agent = load(executor) if executor else None
    metrics, health = Metrics(), Health()
    observation = Observation(metrics, health)
    health.expect("worker", "broker", "database")
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        within = settings.drain_seconds + LEAVING_SECONDS
        stack.enter_context(stop_on_signals(stop, within=within))
        if settings.health_port:
            await stack.enter_async_context(
                serving(health, metrics, settings.health_host, settings.health_port)
            )
        connections = await stack.enter_async_context(
            connected(settings, lost=observation.broker_lost)
        )
        worker = wire(settings, connections, observation)
        await worker.declarer.shared()
        health.up("database")
        connections.consuming.observe(lambda link: _report_broker(health, link))
        async with asyncio.TaskGroup() as group:
            if agent is not None:
                group.create_task(_perform(agent, settings, connections, stop), name="executor")
            await worker.run(stop)


async def _perform(
    agent: Executor, settings: Settings, connections: Connections, stop: asyncio.Event
) -> None:
    await agent.serve(
        settings.amqp_url,
        namespace=settings.namespace,
        layout=settings.layout,
        blobs=connections.blobs,
        drain_seconds=settings.drain_seconds,
        stop=stop,
    )


def _report_broker(health: Health, connection: Connection | None) -> None:
    if connection is None:
        health.down("broker", "no connection")
    else:
        health.up("broker")
