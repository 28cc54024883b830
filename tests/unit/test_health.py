"""Health is served over real HTTP: alive, ready with reasons, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from worker.health import Health, PartState, serving
from worker.listening import PortError
from worker.metrics import Metrics

_HOST = "127.0.0.1"


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def browser(health: Health, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(health, metrics, _HOST, 0) as port,
        httpx.AsyncClient(base_url=f"http://{_HOST}:{port}") as client,
    ):
        yield client


async def test_a_process_is_alive_before_it_is_ready(
    health: Health, browser: httpx.AsyncClient
) -> None:
    """A starting worker is not to be killed, and not to be relied on."""
    health.expect("broker", "database")
    assert (await browser.get("/live")).status_code == 200
    answer = await browser.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["parts"]["broker"]["state"] == "starting"


async def test_ready_means_that_every_part_works(
    health: Health, browser: httpx.AsyncClient
) -> None:
    """One part that is down makes the process unready, and says why without its password."""
    health.expect("broker", "database")
    health.up("broker", "RabbitMQ 4.0.5")
    health.degraded("database", "slow")
    assert (await browser.get("/ready")).json()["ready"] is True
    health.down("broker", "amqp://u:hunter2@host/ refused")
    answer = await browser.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["parts"]["broker"]["reason"] == "amqp://u:***@host/ refused"


async def test_a_draining_process_is_not_ready(health: Health, browser: httpx.AsyncClient) -> None:
    """What stops takes itself out of rotation."""
    health.up("broker")
    health.draining("broker")
    assert (await browser.get("/ready")).status_code == 503


def test_since_tells_when_a_part_came_into_its_state(health: Health) -> None:
    """Repeating a state keeps its beginning; a new one begins now."""
    health.up("broker")
    first = health.parts["broker"]
    health.up("broker", "still")
    assert health.parts["broker"].since == first.since
    health.down("broker", "gone")
    assert health.parts["broker"].state is PartState.DOWN
    assert health.parts["broker"].since >= first.since


def test_nothing_reported_is_not_ready(health: Health) -> None:
    """A process that knows of no part does no work yet."""
    assert not health.ready


async def test_metrics_are_served_as_text(metrics: Metrics, browser: httpx.AsyncClient) -> None:
    """Prometheus reads what was counted."""
    metrics.messages.labels("input", "done").inc(3)
    answer = await browser.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'meerkat_messages_total{disposition="done",type="input"} 3.0' in answer.text


async def test_a_taken_port_is_said_at_once(health: Health, metrics: Metrics) -> None:
    """The error names the address, the reason, and the setting to change."""
    async with serving(health, metrics, _HOST, 0) as port:
        with pytest.raises(PortError, match=rf"{_HOST}:{port}: Address already in use"):
            async with serving(health, metrics, _HOST, port):
                pass


async def test_an_unknown_host_is_said_at_once(health: Health, metrics: Metrics) -> None:
    """An address that is no address is a clear error too."""
    with pytest.raises(PortError, match="cannot resolve"):
        async with serving(health, metrics, "no host", 0):
            pass
