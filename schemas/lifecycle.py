"""The states that inputs, runtimes and runs can be in."""

from __future__ import annotations

import enum


class InputState(enum.StrEnum):
    """Where an input is in its life."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    STAGED = "staged"
    APPLIED = "applied"
    APPLIED_PENDING_CONSUMPTION = "applied_pending_consumption"
    CONSUMED = "consumed"
    SUPERSEDED = "superseded"
    COALESCED = "coalesced"
    ABANDONED = "abandoned"

    @property
    def is_terminal(self) -> bool:
        """A terminal state never changes."""
        return self in TERMINAL_INPUT_STATES


TERMINAL_INPUT_STATES = frozenset(
    {
        InputState.CONSUMED,
        InputState.SUPERSEDED,
        InputState.COALESCED,
        InputState.ABANDONED,
    }
)


class RuntimeState(enum.StrEnum):
    """Where a runtime is in its life. ``attached`` is never stored: it is stored as ``idle``."""

    INITIALIZING = "initializing"
    IDLE = "idle"
    ATTACHED = "attached"
    RUNNING = "running"
    RECOVERING = "recovering"
    RETIRED = "retired"
    STOPPED = "stopped"
    DESTROYED = "destroyed"

    @property
    def is_terminal(self) -> bool:
        """A terminal runtime takes no more input and runs no more."""
        return self in TERMINAL_RUNTIME_STATES


TERMINAL_RUNTIME_STATES = frozenset({RuntimeState.STOPPED, RuntimeState.DESTROYED})


class RunState(enum.StrEnum):
    """Where a run is in its life."""

    REQUESTED = "requested"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_ended(self) -> bool:
        """An ended run answers every further event as stale."""
        return self in ENDED_RUN_STATES


ENDED_RUN_STATES = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})


class Lane(enum.StrEnum):
    """The two ordered lists of waiting inputs; ``steer`` drains first."""

    QUEUE = "queue"
    STEER = "steer"


class AbandonReason(enum.StrEnum):
    """Why an input was given up."""

    RETIRED = "retired"
    RESET = "reset"
    DESTROYED = "destroyed"
    CANCELLED = "cancelled"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
