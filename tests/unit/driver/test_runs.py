"""Runs: which inputs they take, what executors say of them, and how they end."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from schemas import commands
from schemas.content import BlobRef
from schemas.events import (
    InputApplied,
    InputConsumed,
    InputQueued,
    InputStaged,
    RunCancelledEvent,
    RunCompletedEvent,
    RunFailedEvent,
    RunStartedEvent,
    StateChanged,
)
from schemas.ids import RunId
from schemas.inputs import Input
from schemas.lifecycle import InputState, RunState, RuntimeState
from schemas.outcomes import CompletedOutcome, NothingToRun, Ok, Refused, RunStart, Stale
from schemas.records import (
    Changes,
    Known,
    ReceiptRecord,
    RequestRun,
    SnapshotRecord,
    Timer,
    TimerKind,
)
from schemas.runs import (
    Boundary,
    BoundaryApplied,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunHeartbeat,
    RunStarted,
)
from tests.unit.driver.scene import (
    CHECKPOINT,
    REPLY,
    RUN_START,
    STEER,
    Scene,
    announced,
    completions,
    effects,
    flow_step,
    new_id,
    peer_message,
    peer_progress,
    prompt,
)
from worker.driver.policy import load_policy

# --- which inputs --------------------------------------------------------------------------------


def test_a_prompt_goes_alone() -> None:
    """A prompt at the head of the queue lane is a run of its own."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt(), flow_step())
    assert scene.perform().input_ids == (ids[0],)
    assert scene.perform().input_ids == (ids[1],)
    assert scene.perform().input_ids == (ids[2],)


def test_what_stands_before_a_prompt_goes_together() -> None:
    """Leading inputs that are no prompts make one run."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), peer_message(), prompt(), flow_step())
    assert scene.perform().input_ids == tuple(ids[:2])
    assert scene.perform().input_ids == (ids[2],)


def test_the_steer_lane_goes_first() -> None:
    """Prompts that steer go together, at a checkpoint, before anything in the queue lane."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt(STEER), prompt(STEER), peer_progress())
    start = scene.perform()
    assert (start.input_ids, start.boundary) == (tuple(ids[1:]), CHECKPOINT)
    start = scene.perform()
    assert (start.input_ids, start.boundary) == ((ids[0],), RUN_START)


def test_a_run_has_one_boundary() -> None:
    """Where a deployment mixes boundaries in a lane, the leading ones of one boundary go."""
    policy = load_policy(
        'version = 2\n[hint.steer]\napply_mode = "stage_run_start"\n'
        '[kind.flow_step]\napply_mode = "stage_run_boundary"'
    )
    scene = Scene(policy=policy)
    ids = scene.accept_all(prompt(STEER), peer_progress(), peer_message(), flow_step())
    batches = [scene.perform() for _ in ids]
    assert [start.input_ids for start in batches] == [(each,) for each in ids]
    assert [start.boundary for start in batches] == [RUN_START, CHECKPOINT, RUN_START, CHECKPOINT]


@pytest.mark.parametrize("make", [flow_step, lambda: prompt(STEER)])
def test_a_batch_is_bounded(make: Callable[[], Input]) -> None:
    """At most max_batch inputs, of either lane."""
    scene = Scene(max_batch=2)
    ids = scene.accept_all(*(make() for _ in range(3)))
    assert scene.perform().input_ids == tuple(ids[:2])
    assert scene.perform().input_ids == tuple(ids[2:])


# --- beginning a run -----------------------------------------------------------------------------


def test_a_run_is_requested_and_its_inputs_are_staged() -> None:
    """The records say which run, which attempt, and where the runtime came from."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.driver.take()
    start = scene.started()
    changes = scene.driver.take()
    run = scene.driver.run
    assert run is not None
    assert effects(changes, RequestRun) == [RequestRun(run, "trace-1")]
    assert changes.runs == (run,)
    assert (run.state, run.boundary, run.batch) == (RunState.REQUESTED, RUN_START, tuple(ids))
    assert (run.attempt, run.requested_at, run.lease_until) == (1, scene.now, None)
    assert changes.runtime is not None
    assert changes.runtime.current_run_id == start.run_id
    assert changes.runtime.resting_state is RuntimeState.IDLE
    assert [record.last_run_id for record in changes.updated] == [start.run_id] * 2
    assert [record.attempt_count for record in changes.updated] == [1, 1]
    assert scene.states(*ids) == [InputState.STAGED] * 2
    told = announced(changes)
    assert told[:2] == [InputStaged(each, start.run_id) for each in ids]
    assert told[2:] == [StateChanged(RuntimeState.IDLE, RuntimeState.RUNNING)]
    assert changes.timers == {}


def test_a_woken_runtime_goes_on_until_its_lanes_are_empty() -> None:
    """One wake is enough for all that waits, then the runtime rests."""
    scene = Scene()
    scene.accept_all(prompt(), prompt(), peer_progress())
    for _ in range(3):
        scene.perform()
    assert scene.start() == NothingToRun()
    assert not scene.driver.runtime.woken
    scene.accept(peer_progress())
    assert scene.start() == NothingToRun()


def test_no_second_run_begins_while_one_is_in_flight() -> None:
    """One run a runtime, even by force."""
    scene = Scene()
    scene.accept_all(prompt(), prompt())
    scene.started()
    assert not scene.driver.wants_run(scene.now)
    assert scene.start(forced=True) == NothingToRun()


def test_force_begins_what_nothing_woke_but_not_what_is_not_there() -> None:
    """A forced run needs inputs, and a runtime that may process."""
    scene = Scene()
    assert scene.start(forced=True) == NothingToRun()
    scene.accept(peer_progress())
    assert scene.start() == NothingToRun()
    assert isinstance(scene.start(forced=True), RunStart)
    closed = Scene(state=RuntimeState.RECOVERING)
    assert closed.start(forced=True) == NothingToRun()


# --- the lease -----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [RunStarted, RunHeartbeat])
def test_the_first_sign_of_life_begins_the_lease(event: type[RunStarted | RunHeartbeat]) -> None:
    """A heartbeat that overtakes the start starts the run all the same."""
    scene = Scene(lease_seconds=30)
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.driver.take()
    scene.wait(5)
    assert scene.hear(event(run_id)) == Ok()
    due = scene.now + timedelta(seconds=30)
    changes = scene.driver.take()
    [run] = changes.runs
    assert (run.state, run.started_at, run.lease_until) == (RunState.RUNNING, scene.now, due)
    assert changes.timers == {TimerKind.RUN_LEASE: Timer(TimerKind.RUN_LEASE, due, run_id)}
    assert announced(changes) == [RunStartedEvent(run_id)]


@pytest.mark.parametrize("event", [RunStarted, RunHeartbeat])
def test_a_further_sign_of_life_extends_the_lease(event: type[RunStarted | RunHeartbeat]) -> None:
    """An executor that took over from a dead one begins the lease anew, and is welcome."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    began = scene.now
    scene.wait(40)
    assert scene.hear(event(run_id)) == Ok()
    changes = scene.driver.take()
    [run] = changes.runs
    assert run.started_at == began
    assert run.lease_until == scene.now + timedelta(seconds=60)
    assert announced(changes) == []


def test_a_lease_that_was_extended_in_the_meantime_did_not_expire() -> None:
    """The worker that saw it pass saw an older one."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    seen = scene.now + timedelta(seconds=60)
    expired = RunFailed(run_id, "lease expired", recoverable=True, lease_until=seen)
    assert scene.hear(expired) == Stale()
    scene.hear(RunStarted(run_id))
    scene.wait(1)
    scene.hear(RunHeartbeat(run_id))
    assert scene.hear(expired) == Stale()
    assert scene.state is RuntimeState.RUNNING


def test_a_lease_that_expired_fails_the_run() -> None:
    """Its inputs wait again, and the timer of the lease is gone."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    seen = scene.now + timedelta(seconds=60)
    scene.wait(61)
    assert (
        scene.hear(RunFailed(run_id, "lease expired", recoverable=True, lease_until=seen)) == Ok()
    )
    assert scene.queue == [input_id]
    changes = scene.driver.take()
    assert changes.timers[TimerKind.RUN_LEASE] is None
    [run] = changes.runs
    assert (run.state, run.lease_until, run.ended_at) == (RunState.FAILED, None, scene.now)
    assert (run.error, run.recoverable) == ("lease expired", True)


# --- boundaries ----------------------------------------------------------------------------------


def test_a_boundary_applies_its_inputs_with_its_receipt_and_snapshot() -> None:
    """All of it is in one set of changes."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    digest = hashlib.sha256(b"talk").hexdigest()
    snapshot = base64.b64encode(b"talk").decode()
    receipt = scene.receipt(conversation_digest=digest)
    assert scene.hear(BoundaryApplied(run_id, receipt, snapshot)) == Ok()
    changes = scene.driver.take()
    assert changes.receipts == (ReceiptRecord(receipt, epoch=1, committed_at=scene.now),)
    assert changes.snapshot == SnapshotRecord(run_id, 0, b"talk", None, digest)
    assert scene.states(*ids) == [InputState.APPLIED_PENDING_CONSUMPTION] * 2
    assert [record.last_boundary_sequence for record in changes.updated] == [0, 0]
    assert [len(record.history) for record in changes.updated] == [4, 4]
    assert announced(changes) == [InputApplied(each, run_id) for each in ids]
    [run] = changes.runs
    assert run.next_boundary == 1


def test_inputs_may_be_applied_at_several_boundaries() -> None:
    """Each in one receipt; a boundary may also bring a snapshot alone."""
    scene = Scene()
    first, second = scene.accept_all(flow_step(), flow_step())
    scene.started()
    assert scene.boundary([first]) == Ok()
    assert scene.boundary([second]) == Ok()
    assert scene.boundary([]) == Ok()
    sequences = [scene.record(each).last_boundary_sequence for each in (first, second)]
    assert sequences == [0, 1]
    assert scene.complete() == Ok()


def test_a_boundary_that_overtakes_the_start_starts_the_run() -> None:
    """What has a boundary has an executor: the lease begins."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.boundary()
    run = scene.driver.run
    assert run is not None
    assert (run.state, run.next_boundary) == (RunState.RUNNING, 1)
    assert run.lease_until == scene.now + timedelta(seconds=60)


def test_a_receipt_again_changes_nothing() -> None:
    """A repeated boundary is recognised by its sequence."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    again = BoundaryApplied(run_id, scene.receipt())
    scene.hear(again)
    scene.driver.take()
    assert scene.hear(again) == Stale()
    assert scene.driver.take() == Changes()


def test_a_snapshot_may_be_a_reference_to_a_blob() -> None:
    """Its bytes are not at hand: its digest is what the receipt says."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    digest = hashlib.sha256(b"talk").hexdigest()
    blob = BlobRef(f"sha256:{digest}")
    assert scene.boundary(snapshot=blob, conversation_digest=digest) == Ok()
    expected = SnapshotRecord(run_id, 0, None, blob.blob_id, digest)
    assert scene.driver.take().snapshot == expected


def test_a_snapshot_without_a_digest_gets_one() -> None:
    """What is stored can always be verified."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.boundary(snapshot=base64.b64encode(b"talk").decode())
    snapshot = scene.driver.take().snapshot
    assert snapshot is not None
    assert snapshot.digest == hashlib.sha256(b"talk").hexdigest()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"run_id": new_id()}, "receipt.run_id: expected the run_id of the event"),
        ({"sequence": 1}, "receipt.sequence: expected 0, got 1"),
        (
            {"boundary": Boundary.IMMEDIATE},
            "receipt.boundary: expected run_start, got immediate",
        ),
        (
            {"contributing_input_ids": (new_id(),)},
            "receipt.contributing_input_ids: 1 are not of this run's batch",
        ),
        (
            {"conversation_digest": "0" * 64, "snapshot": "dGFsaw=="},
            "receipt.conversation_digest: expected SHA-256 of the session snapshot",
        ),
        ({"snapshot": "%"}, "session_snapshot: expected base64"),
    ],
)
def test_a_receipt_that_breaks_the_protocol_is_refused(
    fields: dict[str, object], problem: str
) -> None:
    """Nothing of it is taken, and the run goes on."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.started()
    scene.driver.take()
    assert scene.boundary(**fields) == Refused(problem)  # type: ignore[arg-type]
    assert scene.driver.take() == Changes()
    assert scene.states(input_id) == [InputState.STAGED]
    assert scene.boundary() == Ok()


def test_an_input_is_applied_once() -> None:
    """Neither twice in a receipt nor in two receipts of a run."""
    scene = Scene()
    first, second = scene.accept_all(flow_step(), flow_step())
    scene.started()
    problem = "receipt.contributing_input_ids: expected each input once, in one receipt only"
    assert scene.boundary([first, first]) == Refused(problem)
    scene.boundary([first])
    assert scene.boundary([first, second]) == Refused(problem)
    assert scene.boundary([second]) == Ok()


# --- ends ----------------------------------------------------------------------------------------


def test_a_completed_run_consumes_what_it_applied() -> None:
    """Whoever waits gets the result, and the runtime is idle again."""
    scene = Scene()
    item = prompt()
    scene.accept(item, reply=REPLY)
    run_id = scene.started().run_id
    scene.boundary()
    scene.driver.take()
    assert scene.complete(result={"answer": 42}) == Ok()
    changes = scene.driver.take()
    [record] = changes.updated
    assert record.state is InputState.CONSUMED
    assert completions(changes) == {item.header.id: CompletedOutcome({"answer": 42})}
    [run] = changes.runs
    assert (run.state, run.ended_at, run.lease_until) == (RunState.COMPLETED, scene.now, None)
    assert changes.timers == {TimerKind.RUN_LEASE: None}
    assert changes.runtime is not None
    assert changes.runtime.current_run_id is None
    assert changes.runtime.resting_state is None
    assert scene.driver.run is None
    assert announced(changes) == [
        InputConsumed(item.header.id, run_id),
        StateChanged(RuntimeState.RUNNING, RuntimeState.IDLE),
        RunCompletedEvent(run_id),
    ]


def test_what_a_completion_does_not_list_is_consumed_by_its_receipt() -> None:
    """The receipt is the proof, not the list."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.boundary()
    assert scene.complete(ids[:1]) == Ok()
    assert scene.states(*ids) == [InputState.CONSUMED] * 2


@pytest.mark.parametrize("listed", [0, 1, 2])
def test_a_run_with_inputs_never_applied_is_not_complete(listed: int) -> None:
    """Whether the completion claims them or not, it is refused, and the run goes on."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    run_id = scene.started().run_id
    scene.boundary(ids[:1])
    outcome = scene.complete(ids[:listed])
    assert isinstance(outcome, Refused)
    assert "1 inputs of the batch were never applied" in outcome.reason
    assert scene.run_id == run_id


def test_a_completion_cannot_consume_what_is_not_its_own() -> None:
    """A foreign id is refused even if everything else is right."""
    scene = Scene()
    scene.accept(prompt())
    [other] = scene.accept_all(prompt())
    scene.started()
    scene.boundary()
    assert isinstance(scene.complete([*scene.receipt().contributing_input_ids, other]), Refused)
    assert scene.complete() == Ok()


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda run_id: RunFailed(run_id, "boom", recoverable=True), RunFailedEvent),
        (RunCancelled, RunCancelledEvent),
    ],
)
def test_a_run_that_ends_badly_consumes_what_it_applied_and_gives_back_the_rest(
    end: Callable[..., RunEvent], told: type
) -> None:
    """In front of what came meanwhile, in the order of admission."""
    scene = Scene()
    applied, one, two = flow_step(), flow_step(), flow_step()
    scene.accept(applied, reply=REPLY)
    ids = [applied.header.id, *scene.accept_all(one, two)]
    run_id = scene.started().run_id
    scene.boundary(ids[:1])
    later = scene.accept_all(flow_step())
    scene.driver.take()
    assert scene.hear(end(run_id)) == Ok()
    assert scene.states(*ids) == ["consumed", "queued", "queued"]
    assert scene.queue == [*ids[1:], *later]
    changes = scene.driver.take()
    assert completions(changes) == {ids[0]: CompletedOutcome()}
    reasons = [record.history[-1].reason for record in changes.updated]
    word = "failed" if told is RunFailedEvent else "cancelled"
    assert reasons == ["boundary receipt already committed", *[f"run {word}"] * 2]
    events = announced(changes)
    assert [each for each in events if isinstance(each, InputQueued)] == [
        InputQueued(each) for each in ids[1:]
    ]
    assert any(isinstance(each, told) for each in events)


def test_each_lane_gets_back_its_own() -> None:
    """A batch of the steer lane goes back to the steer lane."""
    scene = Scene()
    waiting = scene.accept_all(prompt())
    steered = scene.accept_all(prompt(STEER), prompt(STEER))
    scene.started()
    scene.fail()
    assert (scene.queue, scene.steer) == (waiting, steered)


def test_what_has_priority_stays_in_front_of_what_comes_back() -> None:
    """A priority input that came during the run keeps its place."""
    policy = load_policy('version = 2\n[kind.peer_message]\nqueue_mode = "priority"')
    scene = Scene(policy=policy)
    ids = scene.accept_all(peer_message(), flow_step(), flow_step())
    scene.started()
    late = scene.accept_all(flow_step(), peer_message())
    scene.fail()
    assert scene.queue == [late[1], *ids, late[0]]


# --- events of other runs ------------------------------------------------------------------------


def _events(scene: Scene, run_id: RunId) -> list[RunEvent]:
    receipt = scene.receipt(())
    return [
        RunStarted(run_id),
        RunHeartbeat(run_id),
        BoundaryApplied(run_id, receipt),
        RunCompleted(run_id, ()),
        RunFailed(run_id, "boom", recoverable=True),
        RunCancelled(run_id),
    ]


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("taken", [True, False])
def test_an_event_of_a_run_that_has_ended_is_stale(place: int, *, taken: bool) -> None:
    """Whether it ended in this batch or long ago: nothing happens."""
    scene = Scene()
    scene.accept_all(prompt(), prompt())
    ended = scene.perform().run_id
    scene.started()
    known = Known(runs={ended: RunState.COMPLETED}) if taken else None
    if taken:
        scene.driver.take()
    before = scene.driver.stored()
    assert scene.hear(_events(scene, ended)[place], known=known) == Stale()
    assert scene.driver.stored() == before


@pytest.mark.parametrize("place", range(6))
def test_an_event_of_a_run_that_was_never_known_is_refused_as_such(place: int) -> None:
    """It becomes a dead letter of its own reason."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    outcome = scene.hear(_events(scene, new_id())[place])
    assert isinstance(outcome, Refused)
    assert outcome.unknown_run


def test_a_runtime_that_retired_during_a_run_drains_it() -> None:
    """The end of the run leaves it retired, and the next begins from there."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt(), prompt())
    scene.started()
    scene.tell(commands.Retire(new_id()))
    assert scene.state is RuntimeState.RETIRED
    scene.boundary()
    scene.complete()
    assert scene.state is RuntimeState.RETIRED
    assert scene.perform().input_ids == (ids[1],)
    assert scene.state is RuntimeState.RETIRED
    scene.started()
    scene.fail()
    assert (scene.state, scene.queue) == (RuntimeState.RETIRED, ids[2:])
