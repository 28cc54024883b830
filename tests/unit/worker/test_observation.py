"""What is observed is found in the metrics."""

from __future__ import annotations

import pytest

from worker.broker.errors import BrokerUnavailableError, PublishFailedError, UnroutableError
from worker.health import Health
from worker.metrics import Metrics
from worker.observation import Observation


@pytest.fixture
def observation() -> Observation:
    return Observation(Metrics(), Health())


def sample(observation: Observation, name: str, **labels: str) -> float | None:
    return observation.metrics.registry.get_sample_value(f"meerkat_{name}", labels)


def test_lost_connections_are_counted_by_their_peer(observation: Observation) -> None:
    """The database is lost when it goes away, not when it comes back."""
    observation.broker_lost()
    observation.broker_lost()
    observation.database(away=True)
    observation.database(away=False)
    assert sample(observation, "connections_lost_total", peer="broker") == 2
    assert sample(observation, "connections_lost_total", peer="database") == 1


def test_tries_to_publish_are_counted_by_their_result(observation: Observation) -> None:
    failures = [
        UnroutableError("no queue"),
        PublishFailedError("not confirmed"),
        BrokerUnavailableError("no connection"),
    ]
    observation.published(3, failures)
    observation.published(1, [])
    assert sample(observation, "published_total", result="confirmed") == 4
    assert sample(observation, "published_total", result="unroutable") == 1
    assert sample(observation, "published_total", result="failed") == 2


def test_lag_is_reported_until_the_queue_is_let_go(observation: Observation) -> None:
    observation.lag("ada", 3)
    assert sample(observation, "queue_lag", queue="ada") == 3
    observation.lag("ada", None)
    assert sample(observation, "queue_lag", queue="ada") is None
