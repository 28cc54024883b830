"""The life of an input, as a total table of states and events.

Rules of this file: everything that may change an input's state stands here, and nothing else does
it. The first ten events are those of meerkat-runtime 0.5.0's input lifecycle; the three that begin
with ``recovery`` happen only when a runtime is recovered, before any other event.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from schemas.lifecycle import TERMINAL_INPUT_STATES, InputState
from worker.driver.rules import IllegalEventError, Move, Refuse, Rule, whole

S = InputState


class InputEvent(enum.StrEnum):
    """What can happen to an input."""

    QUEUE_ACCEPTED = "queue_accepted"
    CONSUME_ON_ACCEPT = "consume_on_accept"
    STAGE_FOR_RUN = "stage_for_run"
    ROLLBACK_STAGED = "rollback_staged"
    MARK_APPLIED = "mark_applied"
    MARK_APPLIED_PENDING_CONSUMPTION = "mark_applied_pending_consumption"
    CONSUME = "consume"
    SUPERSEDE = "supersede"
    COALESCE = "coalesce"
    ABANDON = "abandon"
    RECOVERY_NORMALIZED = "recovery_normalized"
    RECOVERY_UNPROVEN = "recovery_unproven"
    RECOVERY_PROVEN = "recovery_proven"


E = InputEvent

RECOVERY_REASONS: Final[Mapping[InputEvent, str]] = {
    E.RECOVERY_NORMALIZED: "recovery: pre-run state normalized to queued",
    E.RECOVERY_UNPROVEN: "recovery: missing boundary receipt",
    E.RECOVERY_PROVEN: "recovery: boundary receipt already committed",
}
"""What the history says of a move made by recovery: the words of meerkat-runtime 0.5.0."""


def _moves() -> dict[tuple[InputState, InputEvent], Rule[InputState]]:
    in_run = (S.APPLIED, S.APPLIED_PENDING_CONSUMPTION)
    active = (S.ACCEPTED, S.QUEUED, S.STAGED, *in_run)
    return {
        (S.ACCEPTED, E.QUEUE_ACCEPTED): Move(S.QUEUED, "waits in its lane"),
        (S.ACCEPTED, E.CONSUME_ON_ACCEPT): Move(S.CONSUMED, "its policy asks for nothing more"),
        (S.QUEUED, E.STAGE_FOR_RUN): Move(S.STAGED, "part of a run"),
        (S.STAGED, E.ROLLBACK_STAGED): Move(S.QUEUED, "its run ended without applying it"),
        (S.STAGED, E.MARK_APPLIED): Move(S.APPLIED, "in the conversation"),
        (S.APPLIED, E.MARK_APPLIED_PENDING_CONSUMPTION): Move(
            S.APPLIED_PENDING_CONSUMPTION, "a receipt proves it"
        ),
        (S.APPLIED_PENDING_CONSUMPTION, E.CONSUME): Move(S.CONSUMED, "its run ended"),
        (S.QUEUED, E.SUPERSEDE): Move(S.SUPERSEDED, "a newer input takes its place"),
        (S.QUEUED, E.COALESCE): Move(S.COALESCED, "a newer input stands for it"),
        **{(state, E.ABANDON): Move(S.ABANDONED, "given up") for state in active},
        **{
            (state, E.RECOVERY_NORMALIZED): Move(S.QUEUED, "its run did not survive")
            for state in (S.ACCEPTED, S.STAGED)
        },
        **{(state, E.RECOVERY_UNPROVEN): Move(S.QUEUED, "nothing proves it") for state in in_run},
        **{(state, E.RECOVERY_PROVEN): Move(S.CONSUMED, "a receipt proves it") for state in in_run},
    }


def _rule(state: InputState) -> Refuse:
    return Refuse("it has ended" if state in TERMINAL_INPUT_STATES else "not in this state")


INPUT_TABLE: Final = whole(
    {(state, event): _rule(state) for state in S for event in E} | _moves(),
    S,
    E,
    TERMINAL_INPUT_STATES,
)


def next_state(state: InputState, event: InputEvent) -> InputState:
    """Tell where an event leads.

    Raises:
        IllegalEventError: The table refuses it.
    """
    rule = INPUT_TABLE[state, event]
    if isinstance(rule, Move):
        return rule.target
    raise IllegalEventError(state, event, rule.why)
