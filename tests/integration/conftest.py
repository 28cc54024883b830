"""What tests of several folders begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.deployment import Deployment


@pytest.fixture
async def deployment(tmp_path: Path, amqp_url: str, namespace: str) -> Deployment:
    """A migrated SQLite file and the shared broker; processes are the test's to start."""
    database_url = f"sqlite+aiosqlite:///{tmp_path / 'meerkat.db'}"
    made = Deployment(tmp_path, amqp_url, namespace, database_url)
    await made.migrate()
    return made
