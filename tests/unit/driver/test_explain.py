"""Explanations: the nearest cause first, in words that an operator can act on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import commands
from schemas.lifecycle import AbandonReason, InputState, RunState, RuntimeState
from schemas.outcomes import Abandoned, Coalesced, Consumed, Superseded
from schemas.records import CorruptRecord
from schemas.runs import RunStarted
from tests.unit.driver.scene import (
    STEER,
    Scene,
    flow_step,
    new_id,
    peer_progress,
    prompt,
    stored,
)
from worker.driver.explain import Surroundings, explain, explain_input


def _told(scene: Scene, around: Surroundings | None = None, **changes: Any) -> list[str]:  # noqa: ANN401
    return explain(stored(scene, **changes), now=scene.now, around=around or Surroundings())


# --- a runtime -----------------------------------------------------------------------------------


def test_a_runtime_with_nothing_to_do() -> None:
    """There is nothing to explain."""
    assert _told(Scene()) == ["Nothing waits in its lanes."]


@pytest.mark.parametrize("state", [RuntimeState.STOPPED, RuntimeState.DESTROYED])
def test_a_runtime_that_has_ended(state: RuntimeState) -> None:
    """It does nothing any more."""
    told = _told(Scene(state=state))
    assert told[0] == f"The runtime is {state}: it takes no input and begins no run."


def test_a_retired_runtime() -> None:
    """Also while it drains a run."""
    scene = Scene()
    scene.accept_all(prompt(), prompt())
    scene.tell(commands.Retire(new_id()))
    sentence = "The runtime is retired: it takes no new input, and drains what waits."
    assert _told(scene)[0] == sentence
    scene.started()
    assert _told(scene)[0] == sentence


def test_a_paused_runtime() -> None:
    """What waits is not said to begin soon."""
    scene = Scene()
    scene.accept(prompt())
    paused = msgspec.structs.replace(scene.driver.runtime, paused=True)
    assert _told(scene, runtime=paused) == [
        "The runtime is paused: no run begins until that is lifted."
    ]


def test_records_that_cannot_be_read() -> None:
    """They are named before anything else that waits."""
    told = _told(Scene(), corrupt=(CorruptRecord("x", "bad", b"{}"),))
    assert told[0] == "1 stored input cannot be read: see dead letters."


def test_inputs_that_wake_nobody() -> None:
    """The command that would help is named."""
    scene = Scene()
    scene.accept_all(peer_progress(), peer_progress())
    assert _told(scene) == [
        "2 inputs in its lanes, but nothing has woken the runtime: the command wake would."
    ]


def test_inputs_that_are_about_to_run() -> None:
    """It is the worker's turn."""
    scene = Scene()
    scene.accept(prompt())
    assert _told(scene) == [
        "1 input in its lanes, and a run begins as soon as a worker looks at it."
    ]


def test_a_run_that_no_executor_takes() -> None:
    """What is known of the pool is said."""
    scene = Scene()
    scene.accept_all(prompt(), prompt())
    run_id = scene.started().run_id
    scene.wait(12)
    requested = f"Run {run_id} over 1 input was requested 12 s ago; no executor has taken it."
    behind = "1 input in its lanes behind that run."
    assert _told(scene) == [requested, behind]
    nobody = Surroundings(pool="gpu", pool_consumers=0)
    assert _told(scene, nobody) == [
        requested,
        "No executor listens on pool gpu: start one.",
        behind,
    ]
    assert _told(scene, Surroundings(pool_consumers=1))[1] == (
        "1 executor on pool default: all may be busy."
    )
    busy = Surroundings(pool_consumers=2, pool_depth=7)
    assert _told(scene, busy) == [
        requested,
        "2 executors on pool default, where 7 requests wait: all may be busy.",
        behind,
    ]


def test_clocks_that_disagree_do_not_count_backwards() -> None:
    """A run requested by a worker whose clock is ahead was requested just now."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.wait(-5)
    assert "was requested 0 s ago" in _told(scene)[0]


def test_a_run_in_flight() -> None:
    """When its lease ends, or ended, is said."""
    scene = Scene()
    scene.accept_all(flow_step(), flow_step())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.wait(48)
    flight = f"Run {run_id} over 2 inputs is in flight; its lease"
    assert _told(scene)[0] == f"{flight} ends in 12 s."
    scene.wait(15)
    expected = f"{flight} ended 3 s ago, and it counts as failed once a worker notices."
    assert _told(scene)[0] == expected
    run = scene.driver.run
    assert run is not None
    odd = msgspec.structs.replace(run, lease_until=None, state=RunState.RUNNING)
    assert _told(scene, run=odd)[0] == f"Run {run_id} over 2 inputs is in flight; it has no lease."


def test_a_backoff() -> None:
    """How long it takes, and why batches are small."""
    scene = Scene()
    scene.accept_all(*(flow_step() for _ in range(4)))
    scene.started()
    scene.fail()
    limit = "Until a culprit stands alone, a run takes 2 inputs at most."
    assert _told(scene) == ["It backs off for 1 s more, after 1 run that did not end well.", limit]
    scene.wait(1)
    assert _told(scene) == [
        limit,
        "4 inputs in its lanes, and a run begins as soon as a worker looks at it.",
    ]


def test_what_is_seen_of_the_inbox() -> None:
    """Who should take its messages, and how many wait."""
    around = Surroundings(inbox_consumers=0, inbox_depth=3, owner="worker-1")
    assert _told(Scene(), around) == [
        "Nothing waits in its lanes.",
        "Its inbox has no consumer: no worker takes its messages.",
        "3 messages in its inbox not taken yet.",
        "Worker worker-1 activated it last.",
    ]
    assert _told(Scene(), Surroundings(inbox_consumers=1, inbox_depth=0)) == [
        "Nothing waits in its lanes."
    ]


# --- an input ------------------------------------------------------------------------------------


def _of(scene: Scene, input_id: Any, **changes: Any) -> list[str]:  # noqa: ANN401
    record = msgspec.structs.replace(scene.record(input_id), **changes)
    return explain_input(scene.driver.stored(), record, now=scene.now)


def test_an_input_that_was_never_admitted() -> None:
    """It may still be in the inbox."""
    around = Surroundings(inbox_depth=1)
    told = explain_input(Scene().driver.stored(), None, now=Scene().now, around=around)
    assert told == [
        "No such input was admitted to this runtime.",
        "1 message in its inbox not taken yet.",
    ]


def test_an_input_that_waits() -> None:
    """Its place counts what goes before it: its lane, and all that steer."""
    scene = Scene()
    first, second, steered = scene.accept_all(prompt(), prompt(), prompt(STEER))
    assert _of(scene, steered)[0] == f"Input {steered} waits in the steer lane, first."
    assert _of(scene, first)[0] == f"Input {first} waits in the queue lane, behind 1 other."
    assert _of(scene, second)[0] == f"Input {second} waits in the queue lane, behind 2 others."
    assert _of(scene, second)[1:] == _told(scene)


def test_an_input_that_was_tried_and_one_that_wakes_nobody() -> None:
    """What is peculiar to it comes before what holds for its runtime."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.started()
    scene.fail()
    assert _of(scene, input_id)[1] == "It was part of 1 run that ended without applying it."
    [quiet] = scene.accept_all(peer_progress())
    assert _of(scene, quiet)[1] == "By itself it wakes nobody: it goes with the next run."


def test_an_input_in_a_run() -> None:
    """Staged or applied: which run, which attempt, which boundary."""
    scene = Scene()
    one, two = scene.accept_all(flow_step(), flow_step())
    run_id = scene.started().run_id
    scene.boundary([two])
    assert _of(scene, one)[0] == f"Input {one} is part of run {run_id}, attempt 1."
    applied = f"Input {two} was applied at boundary 0 of run {run_id}"
    assert _of(scene, two)[0] == f"{applied}, and is consumed when the run ends."
    assert _of(scene, two)[1:] == _told(scene)
    odd = _of(scene, one, state=InputState.ACCEPTED)[0]
    assert odd == f"Input {one} was accepted, and waits for its lane."


def test_an_input_that_has_ended() -> None:
    """How, and nothing about its runtime."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    run_id = scene.perform().run_id
    name, newer = f"Input {input_id} has ended", new_id()
    assert _of(scene, input_id) == [f"{name}: consumed by run {run_id}."]
    on_accept = _of(scene, input_id, last_run_id=None, outcome=Consumed())
    assert on_accept == [f"{name}: consumed on acceptance."]
    assert _of(scene, input_id, outcome=Superseded(newer)) == [
        f"{name}: superseded by input {newer}."
    ]
    assert _of(scene, input_id, outcome=Coalesced(newer)) == [
        f"{name}: coalesced into input {newer}."
    ]
    abandoned = Abandoned(AbandonReason.ATTEMPTS_EXHAUSTED)
    assert _of(scene, input_id, outcome=abandoned, attempt_count=5) == [
        f"{name}: abandoned (attempts_exhausted) after 5 attempts."
    ]
    assert _of(scene, input_id, outcome=None) == [f"{name}: consumed."]


def test_an_input_that_became_a_dead_letter() -> None:
    """Its letter is named."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.perform()
    letter = new_id()
    told = explain_input(
        scene.driver.stored(),
        scene.record(input_id),
        now=scene.now,
        around=Surroundings(dead_letter=letter),
    )
    assert told[-1] == f"It became dead letter {letter}."
