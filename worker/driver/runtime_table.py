"""The life of a runtime, as a total table of states and events.

Rules of this file: everything that may change a runtime's state stands here, and nothing else does
it. What depends on more than the state is said by ``NEEDS_NO_RUN`` and by ``Return``.
"""

from __future__ import annotations

import enum
from typing import Final, assert_never

from schemas.lifecycle import TERMINAL_RUNTIME_STATES, RuntimeState
from schemas.records import RuntimeRecord
from worker.driver.rules import Ignore, IllegalEventError, Move, Refuse, Return, Rule, whole

S = RuntimeState


class ControlEvent(enum.StrEnum):
    """What can happen to a runtime."""

    INITIALIZE = "initialize"
    ATTACH_EXECUTOR = "attach_executor"
    DETACH_EXECUTOR = "detach_executor"
    BEGIN_RUN = "begin_run"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"
    RECOVER_REQUESTED = "recover_requested"
    RECOVERY_SUCCEEDED = "recovery_succeeded"
    RECYCLE_REQUESTED = "recycle_requested"
    RECYCLE_SUCCEEDED = "recycle_succeeded"
    RESUME_REQUESTED = "resume_requested"
    RETIRE_REQUESTED = "retire_requested"
    RESET_REQUESTED = "reset_requested"
    STOP_REQUESTED = "stop_requested"
    DESTROY_REQUESTED = "destroy_requested"


E = ControlEvent

ACCEPTS_INPUT: Final = frozenset({S.IDLE, S.ATTACHED, S.RUNNING})
PROCESSES: Final = frozenset({S.IDLE, S.ATTACHED, S.RETIRED})
NEEDS_NO_RUN: Final = frozenset({E.BEGIN_RUN, E.RESET_REQUESTED, E.RECYCLE_REQUESTED})
"""Events that are refused while a run is in flight, whatever the state."""

_RUN_ENDS: Final = (E.RUN_COMPLETED, E.RUN_FAILED, E.RUN_CANCELLED)
_RECOVERED: Final = (E.RECOVERY_SUCCEEDED, E.RECYCLE_SUCCEEDED, E.RESUME_REQUESTED)


def _moves() -> dict[tuple[RuntimeState, ControlEvent], Rule[RuntimeState]]:
    live = tuple(state for state in S if state not in TERMINAL_RUNTIME_STATES)
    fresh = (S.IDLE, S.ATTACHED, S.RUNNING)
    at_rest = (S.IDLE, S.ATTACHED, S.RETIRED)
    return {
        (S.INITIALIZING, E.INITIALIZE): Move(S.IDLE, "ready"),
        (S.IDLE, E.ATTACH_EXECUTOR): Move(S.ATTACHED, "an executor is bound in-process"),
        (S.ATTACHED, E.DETACH_EXECUTOR): Move(S.IDLE, "unbound"),
        **{
            (state, E.BEGIN_RUN): Move(S.RUNNING, "a run is in flight")
            for state in (*at_rest, S.RECOVERING)
        },
        **{(S.RUNNING, event): Return("back to where the run was begun") for event in _RUN_ENDS},
        **{(S.RETIRED, event): Move(S.RETIRED, "goes on draining") for event in _RUN_ENDS},
        **{
            (state, E.RECOVER_REQUESTED): Move(S.RECOVERING, "its state is rebuilt")
            for state in fresh
        },
        **{(state, E.RESUME_REQUESTED): Ignore("nothing to resume") for state in S},
        **{(S.RECOVERING, event): Move(S.IDLE, "its state stands") for event in _RECOVERED},
        **{(state, E.RETIRE_REQUESTED): Move(S.RETIRED, "takes no new input") for state in fresh},
        **{
            (state, E.RESET_REQUESTED): Move(S.IDLE, "begins anew")
            for state in (S.INITIALIZING, S.RECOVERING, *at_rest)
        },
        **{(state, E.STOP_REQUESTED): Move(S.STOPPED, "ended") for state in live},
        **{(state, E.DESTROY_REQUESTED): Move(S.DESTROYED, "ended for good") for state in live},
        (S.STOPPED, E.DESTROY_REQUESTED): Move(S.DESTROYED, "ended for good"),
        **{
            (state, E.RECYCLE_REQUESTED): Move(S.RECOVERING, "its driver is rebuilt")
            for state in at_rest
        },
    }


RUNTIME_TABLE: Final = whole(
    {(state, event): Refuse("not in this state") for state in S for event in E} | _moves(),
    S,
    E,
    frozenset({S.DESTROYED}),
)


def accepts_input(runtime: RuntimeRecord) -> bool:
    """Tell whether new inputs are admitted.

    A run that was begun in a retired runtime drains it: it stays closed to new inputs.
    """
    return runtime.state in ACCEPTS_INPUT and runtime.resting_state is not S.RETIRED


def refusal(runtime: RuntimeRecord, event: ControlEvent) -> str | None:
    """Tell why a runtime refuses an event, or None if it does not."""
    if event in NEEDS_NO_RUN and runtime.current_run_id is not None:
        return f"{event}: the runtime is {runtime.state} and a run is in flight"
    rule = RUNTIME_TABLE[runtime.state, event]
    if isinstance(rule, Refuse):
        return f"{event}: the runtime is {runtime.state}"
    return None


def next_state(runtime: RuntimeRecord, event: ControlEvent) -> RuntimeState:
    """Tell where an event leads.

    Raises:
        IllegalEventError: The table refuses it.
    """
    rule = RUNTIME_TABLE[runtime.state, event]
    match rule:
        case Move(target=target):
            return target
        case Return():
            return _resting(runtime.resting_state)
        case Ignore():
            return runtime.state
        case Refuse(why=why):
            raise IllegalEventError(runtime.state, event, why)
        case _:
            assert_never(rule)


def _resting(begun_from: RuntimeState | None) -> RuntimeState:
    return begun_from if begun_from in (S.RETIRED, S.ATTACHED) else S.IDLE
