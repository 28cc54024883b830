"""A deployment with dead letters, and a console process on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from store.sql import SqlStore
from tests.support.browsing import browser as started_browser
from tests.support.deployment import Deployment
from tests.support.operating import Operator, operating


@pytest.fixture
async def store(deployment: Deployment) -> AsyncIterator[SqlStore]:
    """The database, to look at what was done."""
    async with deployment.store() as opened:
        yield opened


@pytest.fixture
async def operator(deployment: Deployment, store: SqlStore) -> AsyncIterator[Operator]:
    """Everything shared is declared on the broker."""
    async with operating(deployment, store) as made:
        yield made


@pytest.fixture
def variables(deployment: Deployment) -> dict[str, str]:
    """What the console is told."""
    return {**deployment.variables, "MEERKAT_LOG_LEVEL": "debug"}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real browser of the test's own."""
    async with started_browser() as started:
        yield started
