"""Scripts: the statements of a transaction in order, each decided by the answers to those before.

A script talks to nothing itself. So the hot paths can be played where it costs least: see
``players``.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A statement that answers rows."""

    text: str
    parameters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AskEach:
    """A statement that is executed for each of many parameters; answers all their rows in order."""

    text: str
    parameters: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Tell:
    """A statement that is executed over many rows and answers nothing."""

    text: str
    rows: Sequence[tuple[Any, ...]]


class Isolation(enum.Enum):
    """What a script needs of its transaction."""

    WRITING = enum.auto()
    """All of it is durable at the end, or none of it."""
    ONE_MOMENT = enum.auto()
    """It reads, and all of its answers are of one moment."""
    NONE = enum.auto()
    """It reads, and each answer is of its own moment."""


Step = Ask | AskEach | Tell
Script = Generator[Step, Rows, T]
