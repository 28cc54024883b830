"""Fixtures of the tests of the broker package."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.broker.rig import RUNTIME, Rig, rigged
from worker.broker.topology import Topology


@pytest.fixture
async def rig(amqp_url: str, namespace: str) -> AsyncIterator[Rig]:
    """A namespace of the test's own with one runtime declared."""
    async with rigged(amqp_url, Topology(namespace), RUNTIME) as rig:
        yield rig
