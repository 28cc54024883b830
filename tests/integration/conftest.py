"""What tests of several folders begin with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.migrated import migrated_file


@pytest.fixture
async def deployment(tmp_path: Path, amqp_url: str, namespace: str) -> Deployment:
    """A migrated SQLite file and the shared broker; processes are the test's to start."""
    database_url = await asyncio.to_thread(migrated_file, tmp_path / "meerkat.db")
    return Deployment(tmp_path, amqp_url, namespace, database_url)
