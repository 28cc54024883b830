"""Both state tables over the whole product of states and events, from the specification by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.lifecycle import (
    TERMINAL_INPUT_STATES,
    TERMINAL_RUNTIME_STATES,
    InputState,
    RuntimeState,
)
from schemas.records import RuntimeRecord
from tests.unit.driver.scene import RUNTIME, START, new_id
from worker.driver import input_table, runtime_table
from worker.driver.input_table import INPUT_TABLE, InputEvent
from worker.driver.rules import (
    BrokenTableError,
    Ignore,
    IllegalEventError,
    Move,
    Refuse,
    Return,
    Rule,
    whole,
)
from worker.driver.runtime_table import RUNTIME_TABLE, ControlEvent

# Each line: an event, and where it leads from which states; every other pair is illegal.
_INPUT = """
queue_accepted                     accepted>queued
consume_on_accept                  accepted>consumed
stage_for_run                      queued>staged
rollback_staged                    staged>queued
mark_applied                       staged>applied
mark_applied_pending_consumption   applied>applied_pending_consumption
consume                            applied_pending_consumption>consumed
supersede                          queued>superseded
coalesce                           queued>coalesced
abandon                            accepted>abandoned queued>abandoned staged>abandoned
abandon                            applied>abandoned applied_pending_consumption>abandoned
recovery_normalized                accepted>queued staged>queued
recovery_unproven                  applied>queued applied_pending_consumption>queued
recovery_proven                    applied>consumed applied_pending_consumption>consumed
"""

_RUNTIME = """
initialize           initializing>idle
attach_executor      idle>attached
detach_executor      attached>idle
begin_run            idle>running attached>running retired>running recovering>running
run_completed        running>back retired>retired
run_failed           running>back retired>retired
run_cancelled        running>back retired>retired
recover_requested    idle>recovering attached>recovering running>recovering
recovery_succeeded   recovering>idle
recycle_succeeded    recovering>idle
resume_requested     recovering>idle initializing>= idle>= attached>= running>= retired>=
resume_requested     stopped>= destroyed>=
retire_requested     idle>retired attached>retired running>retired
reset_requested      initializing>idle idle>idle attached>idle recovering>idle retired>idle
stop_requested       initializing>stopped idle>stopped attached>stopped running>stopped
stop_requested       recovering>stopped retired>stopped
destroy_requested    initializing>destroyed idle>destroyed attached>destroyed running>destroyed
destroy_requested    recovering>destroyed retired>destroyed stopped>destroyed
recycle_requested    idle>recovering attached>recovering retired>recovering
"""


def _written(text: str) -> dict[tuple[str, str], str]:
    lines = (line.split() for line in text.strip().splitlines())
    pairs = ((event, *step.split(">")) for event, *steps in lines for step in steps)
    return {(state, event): target for event, state, target in pairs}


def _drawn(rule: Rule[Any]) -> str:
    match rule:
        case Move(target=target):
            return str(target)
        case Return():
            return "back"
        case Ignore():
            return "="
        case Refuse():
            return "illegal"


@pytest.mark.parametrize("event", InputEvent)
@pytest.mark.parametrize("state", InputState)
def test_an_input_moves_as_the_specification_says(state: InputState, event: InputEvent) -> None:
    """Each pair of state and event leads where the page says, or is illegal."""
    assert _drawn(INPUT_TABLE[state, event]) == _written(_INPUT).get((state, event), "illegal")


@pytest.mark.parametrize("event", ControlEvent)
@pytest.mark.parametrize("state", RuntimeState)
def test_a_runtime_moves_as_the_specification_says(
    state: RuntimeState, event: ControlEvent
) -> None:
    """Each pair of state and event leads where the page says, or is illegal."""
    assert _drawn(RUNTIME_TABLE[state, event]) == _written(_RUNTIME).get((state, event), "illegal")


def test_no_event_leaves_a_terminal_state_of_an_input() -> None:
    """What has ended stays as it is."""
    assert all(
        isinstance(rule, Refuse)
        for (state, _), rule in INPUT_TABLE.items()
        if state in TERMINAL_INPUT_STATES
    )


def test_a_runtime_that_has_ended_can_only_be_destroyed() -> None:
    """Stopped may become destroyed, never the other way round, and nothing else."""
    leaving = {
        (state, event)
        for (state, event), rule in RUNTIME_TABLE.items()
        if state in TERMINAL_RUNTIME_STATES and isinstance(rule, Move | Return)
    }
    assert leaving == {(RuntimeState.STOPPED, ControlEvent.DESTROY_REQUESTED)}


def test_the_same_event_again_never_moves_an_input() -> None:
    """Hearing a thing twice does not lead two steps on."""
    for (_, event), rule in INPUT_TABLE.items():
        if isinstance(rule, Move):
            again = INPUT_TABLE[rule.target, event]
            assert not isinstance(again, Move) or again.target is rule.target


@pytest.mark.parametrize(
    ("table", "first"),
    [(INPUT_TABLE, InputState.ACCEPTED), (RUNTIME_TABLE, RuntimeState.INITIALIZING)],
)
def test_every_state_can_be_reached(
    table: Mapping[tuple[Any, Any], Rule[Any]], first: InputState | RuntimeState
) -> None:
    """No state stands in the vocabulary for nothing."""
    reached = {first}
    for _ in table:
        reached |= {
            rule.target
            for (state, _), rule in table.items()
            if state in reached and isinstance(rule, Move)
        }
    assert reached == set(type(first))


@pytest.mark.parametrize(
    ("came_from", "state"),
    [
        (RuntimeState.IDLE, RuntimeState.IDLE),
        (RuntimeState.ATTACHED, RuntimeState.ATTACHED),
        (RuntimeState.RETIRED, RuntimeState.RETIRED),
        (RuntimeState.RECOVERING, RuntimeState.IDLE),
        (None, RuntimeState.IDLE),
    ],
)
def test_a_run_leads_back_to_where_it_was_begun(
    came_from: RuntimeState | None, state: RuntimeState
) -> None:
    """Retired and attached are returned to; anything else is idle."""
    runtime = RuntimeRecord(RUNTIME, RuntimeState.RUNNING, 1, START, START, came_from)
    assert runtime_table.next_state(runtime, ControlEvent.RUN_FAILED) is state


@pytest.mark.parametrize("event", ControlEvent)
def test_a_run_in_flight_forbids_what_needs_rest(event: ControlEvent) -> None:
    """A second run, reset and recycle are refused while a retired runtime drains a run."""
    runtime = RuntimeRecord(RUNTIME, RuntimeState.RETIRED, 1, START, START)
    busy = RuntimeRecord(RUNTIME, RuntimeState.RETIRED, 1, START, START, None, new_id())
    needs_rest = {"begin_run", "reset_requested", "recycle_requested"}
    at_rest = runtime_table.refusal(runtime, event)
    assert (runtime_table.refusal(busy, event) != at_rest) == (event in needs_rest)


def test_what_a_table_refuses_is_an_error_that_names_state_and_event() -> None:
    """An illegal event is a defect of its caller."""
    with pytest.raises(IllegalEventError, match="consume in state queued") as input_error:
        input_table.next_state(InputState.QUEUED, InputEvent.CONSUME)
    assert (input_error.value.state, input_error.value.event) == ("queued", "consume")
    runtime = RuntimeRecord(RUNTIME, RuntimeState.STOPPED, 1, START, START)
    with pytest.raises(IllegalEventError, match="begin_run in state stopped"):
        runtime_table.next_state(runtime, ControlEvent.BEGIN_RUN)
    assert runtime_table.next_state(runtime, ControlEvent.RESUME_REQUESTED) is runtime.state


def test_a_table_with_a_hole_or_a_way_out_of_a_final_state_does_not_load() -> None:
    """Tables are checked where they are made."""
    states, events, final = InputState, InputEvent, TERMINAL_INPUT_STATES
    hole = {pair: rule for pair, rule in INPUT_TABLE.items() if pair[1] is not InputEvent.ABANDON}
    with pytest.raises(BrokenTableError, match=r"\(queued, abandon\)"):
        whole(hole, states, events, final)
    pair = (InputState.CONSUMED, InputEvent.ABANDON)
    with pytest.raises(BrokenTableError, match=r": \(consumed, abandon\)$"):
        whole({**INPUT_TABLE, pair: Move(InputState.QUEUED, "back")}, states, events, final)
