"""A deployment of each test's own, on the run's shared broker."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.ledger import Ledger


@pytest.fixture
async def ledger(deployment: Deployment) -> AsyncIterator[Ledger]:
    """What the workers committed."""
    async with deployment.store() as store:
        yield Ledger(store)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the database file's write lock: nobody can commit."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()
