"""Identifiers: what names a runtime, an input, a run, and what shape each may take."""

from __future__ import annotations

import re
from typing import Annotated, NewType, cast
from uuid import UUID

import msgspec

RUNTIME_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$(?!\n)"
"""A runtime id: 1 to 128 characters, safe in a queue name, a routing key and a URL path."""

KEY_PATTERN = r"^[^\x00-\x1f\x7f]{1,255}$(?!\n)"
"""An idempotency or supersession key: 1 to 255 characters, no control characters."""

RUNTIME_ID_EXPECTED = (
    "expected a runtime id: 1 to 128 characters, a letter or digit first, "
    "then letters, digits, '.', '_', ':' or '-'"
)
KEY_EXPECTED = "expected 1 to 255 characters, none of them a control character"

RuntimeId = NewType("RuntimeId", str)
InputId = UUID
RunId = UUID
CommandId = UUID
EventId = UUID
DeadLetterId = UUID

RuntimeIdText = Annotated[str, msgspec.Meta(pattern=RUNTIME_ID_PATTERN)]
Key = Annotated[str, msgspec.Meta(pattern=KEY_PATTERN)]

_RUNTIME_ID = re.compile(RUNTIME_ID_PATTERN)


def runtime_id(text: str) -> RuntimeId:
    """Check a runtime id.

    Raises:
        ValueError: The text does not have the shape of ``RUNTIME_ID_PATTERN``.
    """
    if _RUNTIME_ID.match(text) is None:
        raise ValueError(RUNTIME_ID_EXPECTED)
    return RuntimeId(text)


def id_text(value: UUID) -> str:
    """Write an id, at a third of what ``str`` takes: each message has several."""
    return cast(str, msgspec.to_builtins(value))
