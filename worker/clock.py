"""The clock and the source of ids: the only place where either is read."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def now() -> datetime:
    """Tell the time, UTC, with its zone."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Make a UUID, version 7."""
    return uuid7()
