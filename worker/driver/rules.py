"""Rules: what a state table holds for one state and one event, and what makes a table whole."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

S = TypeVar("S", bound=enum.StrEnum)
E = TypeVar("E", bound=enum.StrEnum)


@dataclass(frozen=True, slots=True)
class Move(Generic[S]):
    """The event leads to another state."""

    target: S
    why: str


@dataclass(frozen=True, slots=True)
class Return:
    """The event leads back to the state that the run was begun from."""

    why: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """The event changes nothing, and that is fine."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The event may not happen in this state."""

    why: str


Rule: TypeAlias = Move[S] | Return | Ignore | Refuse


class IllegalEventError(ValueError):
    """A state table refuses an event that its caller thought possible: a defect, never an answer.

    Attributes:
        state: The state.
        event: The event.
    """

    def __init__(self, state: str, event: str, why: str) -> None:
        super().__init__(f"{event} in state {state}: {why}")
        self.state = state
        self.event = event


class BrokenTableError(ValueError):
    """A state table that is not whole."""


def whole(
    table: Mapping[tuple[S, E], Rule[S]],
    states: Iterable[S],
    events: Iterable[E],
    final: frozenset[S],
) -> Mapping[tuple[S, E], Rule[S]]:
    """Check that a table has a rule for every pair, and that no event leaves a final state.

    ``final`` holds the states that never change.

    Raises:
        BrokenTableError: Naming the pairs that are wrong.
    """
    pairs = {(state, event) for state in states for event in events}
    unequal = pairs ^ table.keys()
    leaving = {pair for pair, rule in table.items() if pair[0] in final and _moves(rule)}
    if unequal or leaving:
        named = ", ".join(sorted(f"({state}, {event})" for state, event in unequal | leaving))
        raise BrokenTableError(f"missing, unknown, or leaving a final state: {named}")
    return table


def _moves(rule: Rule[S]) -> bool:
    return isinstance(rule, Move | Return)
