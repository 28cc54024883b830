"""Retries: backing off, halving, giving up; order kept, progress certain, the innocent unharmed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import commands
from schemas.events import InputAbandoned
from schemas.ids import InputId
from schemas.lifecycle import AbandonReason, InputState, RunState
from schemas.outcomes import Abandoned, AbandonedOutcome, NothingToRun, Ok
from schemas.records import BuryInput, RetryPlan, SignalExecutor, Timer, TimerKind
from schemas.runs import RunCancelled, RunFailed, RunStarted, SignalKind
from tests.unit.driver.scene import (
    REPLY,
    STEER,
    Scene,
    announced,
    completions,
    effects,
    flow_step,
    new_id,
    prompt,
)
from worker.driver import retry
from worker.driver.options import DriverOptions


def _due(scene: Scene) -> None:
    """Let time pass until the next run may begin."""
    plan = scene.driver.runtime.retry
    if plan is not None:
        scene.now = max(scene.now, plan.not_before)


# --- backing off ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [(1, 0.0, 2), (2, 0.0, 4), (5, 0.0, 32), (6, 0.0, 40), (10_000, 0.0, 40), (2, 0.5, 3)],
)
def test_backoff_doubles_up_to_its_cap(failures: int, jitter: float, seconds: float) -> None:
    """Jitter takes away up to half."""
    options = DriverOptions(backoff_base=2, backoff_cap=40)
    assert retry.backoff(options, failures, jitter) == timedelta(seconds=seconds)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_backoff_is_never_above_its_cap_nor_below_half_of_its_base(
    failures: int, jitter: float
) -> None:
    """Whatever the dice say."""
    wait = retry.backoff(DriverOptions(), failures, jitter).total_seconds()
    assert 0.5 <= wait <= 60


def test_a_failed_run_is_tried_again_after_a_while() -> None:
    """Nothing begins before its time, not even for an input that comes meanwhile."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.started()
    scene.driver.take()
    scene.fail()
    due = scene.now + timedelta(seconds=1)
    changes = scene.driver.take()
    assert changes.timers == {TimerKind.RETRY: Timer(TimerKind.RETRY, due)}
    assert changes.runtime is not None
    assert changes.runtime.retry == RetryPlan(1, due, 1, 0)
    later = scene.accept_all(prompt())
    assert not scene.driver.wants_run(scene.now)
    assert scene.start() == NothingToRun()
    scene.wait(1)
    assert scene.driver.wants_run(scene.now)
    start = scene.started()
    assert start.input_ids == (input_id,)
    assert scene.queue == later
    run = scene.driver.run
    assert run is not None
    assert run.attempt == 2
    assert scene.driver.take().timers == {TimerKind.RETRY: None}


def test_failures_in_a_row_wait_longer_and_a_success_ends_the_row() -> None:
    """A batch whose first half succeeds begins the row anew."""
    scene = Scene(max_attempts=100)
    scene.accept_all(*(flow_step() for _ in range(4)))
    waits = []
    for _ in range(3):
        scene.started()
        scene.fail()
        waits.append(_wait(scene))
        _due(scene)
    assert waits == [1, 2, 4]
    scene.perform()
    scene.started()
    scene.fail()
    assert _wait(scene) == 1


def _wait(scene: Scene) -> float:
    plan = scene.driver.runtime.retry
    assert plan is not None
    return (plan.not_before - scene.now).total_seconds()


def test_jitter_comes_from_outside() -> None:
    """The driver rolls no dice."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.fail(jitter=0.5)
    assert _wait(scene) == 0.75


def test_the_plan_is_over_when_all_that_failed_have_left() -> None:
    """From then on batches are as large as ever."""
    scene = Scene()
    old = scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.fail()
    new = scene.accept_all(flow_step(), flow_step())
    _due(scene)
    for each in old:
        assert scene.perform().input_ids == (each,)
    assert scene.driver.runtime.retry is None
    assert scene.driver.take().timers[TimerKind.RETRY] is None
    assert scene.perform().input_ids == tuple(new)


def test_cancelling_the_culprit_ends_the_plan() -> None:
    """A runtime does not back off for an input that is not there any more."""
    scene = Scene()
    [culprit] = scene.accept_all(prompt())
    scene.started()
    scene.fail()
    innocent = scene.accept_all(prompt())
    scene.tell(commands.CancelInput(new_id(), culprit))
    assert scene.driver.runtime.retry is None
    assert scene.started().input_ids == tuple(innocent)


def test_a_run_that_failed_after_it_applied_everything_leaves_nothing_to_retry() -> None:
    """What has a receipt is done: nothing backs off."""
    scene = Scene()
    scene.accept_all(prompt(), prompt())
    scene.started()
    scene.boundary()
    scene.fail()
    assert scene.driver.runtime.retry is None
    assert scene.driver.wants_run(scene.now)


@pytest.mark.parametrize("lost", [False, True])
def test_a_clock_that_jumps_back_during_a_run_leaves_nothing_asleep(*, lost: bool) -> None:
    """What still has to wait when the run ends has a timer, also if the run is lost."""
    scene = Scene()
    scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.fail()
    _due(scene)
    scene.started()
    scene.driver.take()
    scene.wait(-3600)
    if lost:
        scene.recover(adopt_live_runs=False)
    else:
        scene.boundary()
        scene.complete()
    assert not scene.driver.wants_run(scene.now)
    plan = scene.driver.runtime.retry
    assert plan is not None
    timer = Timer(TimerKind.RETRY, plan.not_before)
    assert scene.driver.take().timers[TimerKind.RETRY] == timer


# --- halving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "half"), [(1, 1), (2, 1), (3, 2), (64, 32)])
def test_the_larger_half_of_a_batch(count: int, half: int) -> None:
    """Two halves hold a whole batch."""
    assert retry.halved(count) == half


def test_a_batch_that_failed_comes_back_in_halves() -> None:
    """Both halves in order, before anything newer."""
    scene = Scene()
    ids = scene.accept_all(*(flow_step() for _ in range(5)))
    scene.started()
    scene.accept(flow_step())
    scene.fail()
    _due(scene)
    assert scene.perform().input_ids == tuple(ids[:3])
    start = scene.perform()
    assert start.input_ids[:2] == tuple(ids[3:])
    assert len(start.input_ids) == 3


def test_a_failure_that_is_not_recoverable_halves_at_once() -> None:
    """Waiting would be no use."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.driver.take()
    scene.fail(recoverable=False)
    assert TimerKind.RETRY not in scene.driver.take().timers
    assert scene.started().input_ids == (ids[0],)


@given(
    size=st.integers(1, 40),
    culprits=st.sets(st.integers(0, 39), max_size=3),
    recoverable=st.booleans(),
    max_attempts=st.integers(1, 3),
)
def test_culprits_end_alone_and_all_others_are_consumed(
    size: int, culprits: set[int], recoverable: bool, max_attempts: int
) -> None:
    """In the order of admission, in a bounded number of runs."""
    scene = Scene(max_attempts=max_attempts, announce=False)
    ids = scene.accept_all(*(flow_step() for _ in range(size)))
    poison = {ids[place] for place in culprits if place < size}
    order: list[InputId] = []
    for _ in range(size + 60 * len(poison)):
        _due(scene)
        start = scene.start()
        if isinstance(start, NothingToRun):
            break
        if poison & set(start.input_ids):
            scene.fail(recoverable=recoverable)
            continue
        order += start.input_ids
        scene.boundary()
        scene.complete()
    states = {each: scene.record(each).state for each in ids}
    assert {each for each in ids if states[each] is InputState.ABANDONED} == poison
    assert order == [each for each in ids if each not in poison]


# --- giving up -----------------------------------------------------------------------------------


def test_an_input_that_used_up_its_attempts_alone_is_given_up() -> None:
    """It is abandoned, becomes a dead letter, its asker is told, and its neighbours go on."""
    scene = Scene(max_attempts=3)
    item = prompt()
    scene.accept(item, reply=REPLY)
    neighbour = scene.accept_all(prompt())
    culprit = item.header.id
    for attempt in range(1, 4):
        _due(scene)
        scene.started()
        assert scene.record(culprit).attempt_count == attempt
        assert scene.states(culprit) == [InputState.STAGED]
        scene.driver.take()
        assert scene.fail() == Ok()
    record = scene.record(culprit)
    assert record.outcome == Abandoned(AbandonReason.ATTEMPTS_EXHAUSTED)
    assert record.history[-1].reason == "attempts_exhausted"
    changes = scene.driver.take()
    assert effects(changes, BuryInput) == [BuryInput(culprit, "given up after 3 attempts: boom")]
    told = AbandonedOutcome(AbandonReason.ATTEMPTS_EXHAUSTED)
    assert completions(changes) == {culprit: told}
    assert InputAbandoned(culprit, AbandonReason.ATTEMPTS_EXHAUSTED) in announced(changes)
    assert scene.driver.runtime.retry is None
    assert scene.started().input_ids == tuple(neighbour)


def test_a_failure_that_is_not_recoverable_ends_an_input_that_stands_alone() -> None:
    """At its first attempt."""
    scene = Scene()
    [culprit] = scene.accept_all(prompt())
    scene.started()
    scene.fail(recoverable=False)
    assert scene.states(culprit) == [InputState.ABANDONED]
    assert effects(scene.driver.take(), BuryInput) == [
        BuryInput(culprit, "given up after 1 attempt: boom")
    ]


def test_a_dead_letter_names_the_error_in_brief() -> None:
    """An executor that reports a megabyte does not make a letter of a megabyte."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.hear(RunFailed(scene.run_id, "x" * 10_000, recoverable=False))
    [bury] = effects(scene.driver.take(), BuryInput)
    assert bury.detail == "given up after 1 attempt: " + "x" * 500


def test_what_failed_in_company_is_never_given_up() -> None:
    """However often its batches fail: it may be innocent."""
    scene = Scene(max_attempts=1)
    ids = scene.accept_all(*(flow_step() for _ in range(8)))
    for size in (8, 4, 2):
        _due(scene)
        assert scene.started().input_ids == tuple(ids[:size])
        scene.fail(recoverable=False)
        assert scene.queue == ids


def test_a_lone_input_that_was_applied_is_not_given_up() -> None:
    """Its receipt counts for more than the failure after it."""
    scene = Scene(max_attempts=1)
    [input_id] = scene.accept_all(prompt())
    scene.started()
    scene.boundary()
    scene.fail(recoverable=False)
    assert scene.states(input_id) == [InputState.CONSUMED]


def test_a_steered_culprit_does_not_hold_the_queue_for_ever() -> None:
    """When it is given up, the queue lane moves."""
    scene = Scene(max_attempts=2)
    waiting = scene.accept_all(prompt())
    scene.accept(prompt(STEER))
    for _ in range(2):
        _due(scene)
        scene.started()
        scene.fail()
    assert scene.started().input_ids == tuple(waiting)


# --- cancelling ----------------------------------------------------------------------------------


def test_a_cancelled_run_comes_back_whole_after_a_moment() -> None:
    """Nobody's fault: not halved, not given up, and not a hot loop either."""
    scene = Scene(max_attempts=1)
    ids = scene.accept_all(flow_step(), flow_step())
    for seconds in (1, 2):
        run_id = scene.started().run_id
        scene.hear(RunStarted(run_id))
        assert scene.hear(RunCancelled(run_id)) == Ok()
        assert scene.queue == ids
        assert _wait(scene) == seconds
        _due(scene)
    assert scene.started().input_ids == tuple(ids)


def test_a_run_cancelled_after_it_applied_everything_leaves_nothing_to_retry() -> None:
    """What has a receipt is done, and what waits behind goes on at once."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt())
    scene.started()
    scene.boundary()
    scene.hear(RunCancelled(scene.run_id))
    assert scene.states(ids[0]) == [InputState.CONSUMED]
    assert scene.started().input_ids == (ids[1],)


def test_the_executor_is_asked_to_cancel() -> None:
    """The run goes on until it answers."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    scene.tell(commands.CancelRun(new_id(), run_id))
    changes = scene.driver.take()
    assert effects(changes, SignalExecutor) == [SignalExecutor(SignalKind.CANCEL_RUN, run_id)]
    assert scene.run_id == run_id


def test_a_run_that_nobody_has_taken_is_cancelled_at_once() -> None:
    """Otherwise a request that got lost would hold its runtime for ever."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    run_id = scene.started().run_id
    scene.tell(commands.CancelRun(new_id()))
    assert (scene.driver.run, scene.queue) == (None, ids)
    changes = scene.driver.take()
    assert [run.state for run in changes.runs] == [RunState.CANCELLED]
    assert effects(changes, SignalExecutor) == [SignalExecutor(SignalKind.CANCEL_RUN, run_id)]
    _due(scene)
    assert scene.started().input_ids == tuple(ids)
