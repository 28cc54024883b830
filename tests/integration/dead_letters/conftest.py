"""A deployment of each test's own on the run's shared broker, and an operator's hands."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.deployment import Deployment
from tests.support.ledger import Ledger
from tests.support.operating import Operator, operating


@pytest.fixture
async def ledger(deployment: Deployment) -> AsyncIterator[Ledger]:
    """What the workers committed."""
    async with deployment.store() as store:
        yield Ledger(store)


@pytest.fixture
async def operator(deployment: Deployment, ledger: Ledger) -> AsyncIterator[Operator]:
    """An operator on the same database and broker; everything shared is declared."""
    async with operating(deployment, ledger.store) as made:
        yield made
