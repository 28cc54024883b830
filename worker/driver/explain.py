"""Explanations: why a runtime, or one of its inputs, has not moved, in plain words.

Pure: what the store holds and what the broker shows come in as arguments; sentences come out, the
nearest cause first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from schemas.ids import DeadLetterId, InputId
from schemas.lifecycle import InputState, Lane, RunState, RuntimeState
from schemas.outcomes import Abandoned, Coalesced, Consumed, Superseded, TerminalOutcome
from schemas.policy import WakeMode
from schemas.records import InputRecord, RetryPlan, RunRecord, StoredRuntime


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is to be seen around a runtime. None means: not looked at.

    Attributes:
        pool: The name of the pool that its runs go to.
        pool_consumers: Executors that listen there.
        pool_depth: Run requests that wait there.
        inbox_consumers: Workers that consume its inbox.
        inbox_depth: Messages that wait there.
        owner: The worker that activated the runtime last.
        dead_letter: The dead letter that was made of the input asked about.
    """

    pool: str = "default"
    pool_consumers: int | None = None
    pool_depth: int | None = None
    inbox_consumers: int | None = None
    inbox_depth: int | None = None
    owner: str | None = None
    dead_letter: DeadLetterId | None = None


_NOTHING_SEEN: Final = Surroundings()


def explain(
    stored: StoredRuntime, *, now: datetime, around: Surroundings = _NOTHING_SEEN
) -> list[str]:
    """Say why a runtime stands where it stands."""
    return [
        *_standing(stored),
        *_run(stored, now, around),
        *_retry(stored.runtime.retry, now),
        *_waiting(stored, now),
        *_inbox(around),
    ]


def explain_input(
    stored: StoredRuntime,
    record: InputRecord | None,
    *,
    now: datetime,
    around: Surroundings = _NOTHING_SEEN,
) -> list[str]:
    """Say why one input stands where it stands. ``record`` is None if the store has none."""
    if record is None:
        return ["No such input was admitted to this runtime.", *_inbox(around)]
    return [
        *_input(stored, record),
        *_letter(around.dead_letter),
        *([] if record.state.is_terminal else explain(stored, now=now, around=around)),
    ]


# --- the runtime ---------------------------------------------------------------------------------


def _standing(stored: StoredRuntime) -> Iterator[str]:
    runtime = stored.runtime
    if runtime.state.is_terminal:
        yield f"The runtime is {runtime.state}: it takes no input and begins no run."
    elif RuntimeState.RETIRED in (runtime.state, runtime.resting_state):
        yield "The runtime is retired: it takes no new input, and drains what waits."
    if runtime.paused:
        yield "The runtime is paused: no run begins until that is lifted."
    if stored.corrupt:
        yield f"{_count(len(stored.corrupt), 'stored input')} cannot be read: see dead letters."


def _run(stored: StoredRuntime, now: datetime, around: Surroundings) -> Iterator[str]:
    run = stored.run
    if run is None:
        return
    inputs = _count(len(run.batch), "input")
    if run.state is RunState.REQUESTED:
        since = _seconds(run.requested_at, now)
        yield f"Run {run.run_id} over {inputs} was requested {since} ago; no executor has taken it."
        yield from _pool(around)
    else:
        yield f"Run {run.run_id} over {inputs} is in flight; {_lease(run, now)}."


def _lease(run: RunRecord, now: datetime) -> str:
    if run.lease_until is None:
        return "it has no lease"
    if run.lease_until > now:
        return f"its lease ends in {_seconds(now, run.lease_until)}"
    ago = _seconds(run.lease_until, now)
    return f"its lease ended {ago} ago, and it counts as failed once a worker notices"


def _pool(around: Surroundings) -> Iterator[str]:
    if around.pool_consumers == 0:
        yield f"No executor listens on pool {around.pool}: start one."
    elif around.pool_consumers is not None:
        listening = _count(around.pool_consumers, "executor")
        depth = around.pool_depth
        waiting = "" if depth is None else f", where {_count(depth, 'request')} wait"
        yield f"{listening} on pool {around.pool}{waiting}: all may be busy."


def _retry(plan: RetryPlan | None, now: datetime) -> Iterator[str]:
    if plan is None:
        return
    if plan.not_before > now:
        left = _seconds(now, plan.not_before)
        runs = _count(plan.failures, "run")
        yield f"It backs off for {left} more, after {runs} that did not end well."
    yield f"Until a culprit stands alone, a run takes {_count(plan.batch_limit, 'input')} at most."


def _waiting(stored: StoredRuntime, now: datetime) -> Iterator[str]:
    runtime = stored.runtime
    waiting = [record for record in stored.inputs if record.state is InputState.QUEUED]
    inputs = _count(len(waiting), "input")
    held = runtime.paused or (runtime.retry is not None and runtime.retry.not_before > now)
    if not waiting:
        yield "Nothing waits in its lanes."
    elif stored.run is not None:
        yield f"{inputs} in its lanes behind that run."
    elif not runtime.woken:
        yield f"{inputs} in its lanes, but nothing has woken the runtime: the command wake would."
    elif not held:
        yield f"{inputs} in its lanes, and a run begins as soon as a worker looks at it."


def _inbox(around: Surroundings) -> Iterator[str]:
    if around.inbox_consumers == 0:
        yield "Its inbox has no consumer: no worker takes its messages."
    if around.inbox_depth:
        yield f"{_count(around.inbox_depth, 'message')} in its inbox not taken yet."
    if around.owner is not None:
        yield f"Worker {around.owner} activated it last."


# --- one input -----------------------------------------------------------------------------------


def _input(stored: StoredRuntime, record: InputRecord) -> Iterator[str]:
    name = f"Input {record.input_id}"
    match record.state:
        case InputState.ACCEPTED:
            yield f"{name} was accepted, and waits for its lane."
        case InputState.QUEUED:
            yield from _queued(stored, record, name)
        case InputState.STAGED:
            yield f"{name} is part of run {record.last_run_id}, attempt {record.attempt_count}."
        case InputState.APPLIED | InputState.APPLIED_PENDING_CONSUMPTION:
            boundary = f"boundary {record.last_boundary_sequence} of run {record.last_run_id}"
            yield f"{name} was applied at {boundary}, and is consumed when the run ends."
        case (
            InputState.CONSUMED
            | InputState.SUPERSEDED
            | InputState.COALESCED
            | InputState.ABANDONED
        ):
            yield f"{name} has ended: {_ending(record, record.outcome)}."
        case _:
            assert_never(record.state)


def _queued(stored: StoredRuntime, record: InputRecord, name: str) -> Iterator[str]:
    ahead = _ahead(stored, record)
    place = "first" if ahead == 0 else f"behind {_count(ahead, 'other')}"
    yield f"{name} waits in the {record.lane} lane, {place}."
    if record.attempt_count:
        runs = _count(record.attempt_count, "run")
        yield f"It was part of {runs} that ended without applying it."
    if record.policy is not None and record.policy.wake_mode is WakeMode.NONE:
        yield "By itself it wakes nobody: it goes with the next run."


def _ahead(stored: StoredRuntime, record: InputRecord) -> int:
    """Count what goes before: those in front in its lane, and for the queue all that steer."""
    steered = record.lane is not Lane.STEER
    return sum(
        (other.lane is record.lane and other.position < record.position)
        or (steered and other.lane is Lane.STEER)
        for other in stored.inputs
        if other.state is InputState.QUEUED
    )


def _ending(record: InputRecord, outcome: TerminalOutcome | None) -> str:
    match outcome:
        case None:
            return record.state.value
        case Consumed():
            how = "on acceptance" if record.last_run_id is None else f"by run {record.last_run_id}"
            return f"consumed {how}"
        case Superseded(by=newer):
            return f"superseded by {_id(newer)}"
        case Coalesced(into=newer):
            return f"coalesced into {_id(newer)}"
        case Abandoned(reason=reason):
            return f"abandoned ({reason}) after {_count(record.attempt_count, 'attempt')}"
        case _:
            assert_never(outcome)


def _letter(dead_letter: DeadLetterId | None) -> Iterator[str]:
    if dead_letter is not None:
        yield f"It became dead letter {dead_letter}."


# --- words ---------------------------------------------------------------------------------------


def _id(input_id: InputId) -> str:
    return f"input {input_id}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _seconds(earlier: datetime, later: datetime) -> str:
    return f"{max(0, round((later - earlier).total_seconds()))} s"
