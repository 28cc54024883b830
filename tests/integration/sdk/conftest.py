"""Fixtures of the SDK tests."""

from collections.abc import AsyncIterator

import pytest

from tests.support.counterpart import Counterpart


@pytest.fixture
async def counterpart(amqp_url: str, namespace: str) -> AsyncIterator[Counterpart]:
    """The other side of the broker, listening to the inbox of the runtime `agent`."""
    async with Counterpart(amqp_url, namespace) as other:
        await other.listen("agent")
        yield other
