"""What a worker's ``/metrics`` says is what has happened to it."""

from __future__ import annotations

import dataclasses

import httpx
import pytest

from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from worker.client import Prompt
from worker.sandbox.ports import free_port
from worker.sandbox.proxy import Proxy

LAG = 'meerkat_queue_lag{queue="%s.inbox.ada"} 0.0'
CONFIRMED = 'meerkat_published_total{result="confirmed"}'
LOST = 'meerkat_connections_lost_total{peer="broker"} 2.0'


@pytest.mark.rabbitmq
async def test_messages_published_lag_and_lost_connections_are_told(
    deployment: Deployment,
) -> None:
    """A run is requested, the inbox is looked at, and both connections to the broker are cut."""
    port = free_port()
    async with Proxy.before(deployment.amqp_url) as proxy:
        behind = dataclasses.replace(
            deployment,
            amqp_url=proxy.address(deployment.amqp_url),
            publish_url=deployment.amqp_url,
        )
        async with (
            behind.client() as client,
            behind.worker(HEALTH_PORT=str(port)),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as browser,
        ):
            await client.publish("ada", Prompt("hello"))

            async def told(line: str) -> bool:
                try:
                    return line in (await browser.get("/metrics")).text
                except httpx.TransportError:
                    return False

            await eventually(lambda: told(CONFIRMED), 60, "the run request is confirmed")
            await eventually(lambda: told(LAG % deployment.namespace), 60, "the inbox is empty")
            proxy.cut()
            await eventually(lambda: told(LOST), 60, "both connections are lost")
