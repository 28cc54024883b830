"""Recovery: what becomes of a runtime when its driver is made from the store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import commands
from schemas.events import InputConsumed, InputQueued
from schemas.inputs import InputKind
from schemas.lifecycle import AbandonReason, InputState, Lane, RunState, RuntimeState
from schemas.outcomes import (
    Abandoned,
    AbandonedOutcome,
    CompletedOutcome,
    Consumed,
    Deduplicated,
    NothingToRun,
    Ok,
    Report,
    Stale,
)
from schemas.policy import QueueMode
from schemas.records import (
    BuryInput,
    Changes,
    CorruptRecord,
    HistoryEntry,
    InputRecord,
    StoredRuntime,
)
from schemas.runs import BoundaryApplied, RunStarted
from tests.unit.driver.scene import (
    EPHEMERAL,
    QUEUE,
    REPLY,
    RUNTIME,
    STEER,
    Scene,
    announced,
    completions,
    continuation,
    effects,
    external_event,
    flow_step,
    new_id,
    peer_progress,
    prompt,
    stored,
)
from worker.driver.policy import DEFAULT_POLICY
from worker.driver.recovery import CorruptRuntimeError, recover


def _counts(report: Report) -> tuple[int, int, int]:
    assert report.command == "recover"
    names = ("inputs_recovered", "inputs_requeued", "inputs_abandoned")
    found, requeued, abandoned = (report.counts[name] for name in names)
    return found, requeued, abandoned


def _revive(scene: Scene, what: StoredRuntime, *, adopt: bool = False) -> Report:
    recovered = recover(what, now=scene.now, options=scene.options, adopt_live_runs=adopt)
    scene.driver = recovered.driver
    return recovered.report


def _with(record: InputRecord, **fields: Any) -> InputRecord:  # noqa: ANN401
    return msgspec.structs.replace(record, **fields)


# --- what waits ----------------------------------------------------------------------------------


def test_what_waits_waits_on_and_nothing_is_written() -> None:
    """Recovering a runtime at rest changes nothing."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt(STEER), flow_step())
    scene.driver.take()
    before = scene.driver.stored()
    report = scene.recover().report
    assert _counts(report) == (3, 0, 0)
    assert (scene.queue, scene.steer) == ([ids[0], ids[2]], [ids[1]])
    assert scene.driver.take() == Changes()
    assert scene.driver.stored() == before
    assert scene.driver.wants_run(scene.now)


def test_priority_inputs_stand_in_front_again() -> None:
    """Lanes are filled by position, not by sequence."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step(), flow_step())
    [one, two, three] = scene.driver.active_inputs()
    assert two.policy is not None
    ahead = msgspec.structs.replace(two.policy, queue_mode=QueueMode.PRIORITY)
    _revive(scene, stored(scene, inputs=(one, _with(two, policy=ahead), three)))
    assert scene.queue == [ids[1], ids[0], ids[2]]


def test_duplicates_are_known_after_recovery() -> None:
    """By id and by key."""
    scene = Scene()
    item = prompt(idempotency_key="k")
    scene.accept(item)
    scene.recover()
    assert isinstance(scene.accept(item), Deduplicated)
    assert isinstance(scene.accept(prompt(idempotency_key="k")), Deduplicated)


def test_waiting_inputs_can_be_coalesced_after_recovery() -> None:
    """Scopes are filled with the lanes."""
    scene = Scene()
    scene.accept(peer_progress(supersession_key="s"))
    scene.recover()
    [newer] = scene.accept_all(peer_progress(supersession_key="s"))
    assert scene.steer == [newer]


# --- rules 1 and 2: a run that did not survive ---------------------------------------------------


def test_staged_inputs_wait_again() -> None:
    """In their old places, with the run ended, and the runtime idle."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step(), prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    report = scene.recover(adopt_live_runs=False).report
    assert _counts(report) == (3, 2, 0)
    assert report.details == (f"run {run_id} did not survive",)
    assert scene.queue == ids
    assert scene.state is RuntimeState.IDLE
    record = scene.record(ids[0])
    assert (record.recovery_count, record.attempt_count) == (1, 1)
    assert record.history[-1] == HistoryEntry(
        scene.now,
        InputState.STAGED,
        InputState.QUEUED,
        "recovery: pre-run state normalized to queued",
    )
    assert scene.hear(RunStarted(run_id)) == Stale()
    changes = scene.driver.take()
    [run] = changes.runs
    assert (run.state, run.error, run.recoverable) == (RunState.FAILED, "lost at recovery", True)
    assert changes.runtime is not None
    assert (changes.runtime.current_run_id, changes.runtime.resting_state) == (None, None)
    assert [each for each in announced(changes) if isinstance(each, InputQueued)] == [
        InputQueued(each) for each in ids[:2]
    ]
    assert scene.started().input_ids == tuple(ids[:2])


def test_an_input_accepted_but_never_queued_waits() -> None:
    """It enters the lane that its policy names."""
    scene = Scene()
    scene.accept(prompt(STEER))
    [record] = scene.driver.active_inputs()
    half = _with(record, state=InputState.ACCEPTED, lane=None)
    report = _revive(scene, stored(scene, inputs=(half,)))
    assert _counts(report) == (1, 1, 0)
    assert scene.steer == [record.input_id]
    assert scene.record(record.input_id).lane is Lane.STEER


def _applied(scene: Scene) -> InputRecord:
    item = prompt()
    scene.accept(item, reply=REPLY)
    scene.started()
    scene.boundary()
    scene.driver.take()
    return scene.record(item.header.id)


@pytest.mark.parametrize("state", [InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION])
def test_an_applied_input_with_its_receipt_is_consumed(state: InputState) -> None:
    """The receipt proves it; whoever waits is told."""
    scene = Scene()
    record = _applied(scene)
    report = _revive(scene, stored(scene, inputs=(_with(record, state=state),)))
    assert _counts(report) == (1, 0, 0)
    changes = scene.driver.take()
    [consumed] = changes.updated
    assert (consumed.state, consumed.outcome) == (InputState.CONSUMED, Consumed())
    assert consumed.history[-1].reason == "recovery: boundary receipt already committed"
    assert completions(changes) == {record.input_id: CompletedOutcome()}
    assert InputConsumed(record.input_id, record.last_run_id) in announced(changes)


@pytest.mark.parametrize("state", [InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION])
def test_an_applied_input_without_its_receipt_waits_again(state: InputState) -> None:
    """Nothing proves it; a receipt of another boundary does not either."""
    scene = Scene()
    record = _applied(scene)
    assert record.last_run_id is not None
    receipts = frozenset({(record.last_run_id, 7)})
    what = stored(scene, inputs=(_with(record, state=state),), receipts=receipts)
    assert _counts(_revive(scene, what)) == (1, 1, 0)
    again = scene.record(record.input_id)
    assert (again.state, again.recovery_count) == (InputState.QUEUED, 0)
    assert again.history[-1].reason == "recovery: missing boundary receipt"
    assert scene.driver.wants_run(scene.now)


# --- rule 3: ephemeral inputs --------------------------------------------------------------------


def test_ephemeral_inputs_do_not_survive() -> None:
    """They are abandoned, and whoever waits is told."""
    scene = Scene()
    item = prompt(durability=EPHEMERAL)
    scene.accept(item, reply=REPLY)
    [kept] = scene.accept_all(prompt())
    report = scene.recover().report
    assert _counts(report) == (2, 0, 1)
    assert scene.queue == [kept]
    changes = scene.driver.take()
    [record] = [each for each in changes.updated if each.input_id == item.header.id]
    assert record.outcome == Abandoned(AbandonReason.CANCELLED)
    told = AbandonedOutcome(AbandonReason.CANCELLED)
    assert completions(changes) == {item.header.id: told}


def test_an_ephemeral_input_that_was_applied_is_consumed_by_its_receipt() -> None:
    """It has done what it was for."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt(durability=EPHEMERAL))
    scene.started()
    scene.boundary()
    assert _counts(scene.recover(adopt_live_runs=False).report) == (1, 0, 0)
    assert scene.record(input_id).outcome == Consumed()


def test_an_ephemeral_input_in_a_live_run_stays_in_it() -> None:
    """A run's inputs are not taken away from under it."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt(durability=EPHEMERAL))
    scene.started()
    scene.recover()
    assert scene.states(input_id) == [InputState.STAGED]


# --- rule 4: no policy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        (prompt(), None),
        (prompt(STEER), STEER),
        (external_event(), QUEUE),
        (continuation(), QUEUE),
        (continuation(STEER), STEER),
        (peer_progress(), None),
    ],
)
def test_an_input_without_a_policy_is_decided_as_if_idle(item: Any, hint: Any) -> None:  # noqa: ANN401
    """By its kind, and by the lane that it was in."""
    scene = Scene()
    scene.accept(item)
    [record] = scene.driver.active_inputs()
    _revive(scene, stored(scene, inputs=(_with(record, policy=None),)))
    expected = DEFAULT_POLICY.resolve(record.kind, hint, idle=True)
    assert scene.record(record.input_id).policy == expected
    assert scene.driver.stored().inputs[0].lane is record.lane


def test_an_input_of_unknown_origin_only_holds_its_id() -> None:
    """It is never run and ends with nothing, but its id and key are taken."""
    scene = Scene()
    item = prompt(idempotency_key="k")
    scene.accept(item)
    [record] = scene.driver.active_inputs()
    unknown = _with(record, policy=None, kind=InputKind.UNKNOWN)
    report = _revive(scene, stored(scene, inputs=(unknown,)))
    assert _counts(report) == (0, 0, 0)
    assert scene.queue == []
    assert isinstance(scene.accept(item), Deduplicated)
    assert isinstance(scene.accept(prompt(idempotency_key="k")), Deduplicated)
    assert scene.driver.stored().inputs == (unknown,)


def test_recovered_inputs_share_their_decisions() -> None:
    """A hundred thousand of them hold a handful of decisions."""
    scene = Scene()
    scene.accept_all(flow_step(), flow_step())
    one, two = scene.driver.active_inputs()
    assert two.policy is not None
    twin = _with(two, policy=msgspec.structs.replace(two.policy))
    assert twin.policy is not one.policy
    _revive(scene, stored(scene, inputs=(one, twin)))
    one, two = scene.driver.active_inputs()
    assert two.policy is one.policy


# --- rules 6 and 7: the runtime ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RuntimeState.INITIALIZING, RuntimeState.IDLE),
        (RuntimeState.IDLE, RuntimeState.IDLE),
        (RuntimeState.RECOVERING, RuntimeState.IDLE),
        (RuntimeState.RUNNING, RuntimeState.IDLE),
        (RuntimeState.RETIRED, RuntimeState.RETIRED),
        (RuntimeState.STOPPED, RuntimeState.STOPPED),
        (RuntimeState.DESTROYED, RuntimeState.DESTROYED),
    ],
)
def test_the_runtime_stands_where_it_stood(state: RuntimeState, expected: RuntimeState) -> None:
    """Retired and ended runtimes stay so; any other is idle."""
    scene = Scene(state=state)
    scene.recover()
    assert scene.state is expected


def test_an_attached_runtime_is_stored_and_recovered_as_idle() -> None:
    """Also when a run was begun while it was attached."""
    scene = Scene()
    scene.tell(commands.Attach(new_id()))
    scene.accept(prompt())
    scene.started()
    runtime = scene.driver.take().runtime
    assert runtime is not None
    assert runtime.resting_state is RuntimeState.IDLE
    scene.fail()
    assert scene.state is RuntimeState.ATTACHED
    assert scene.driver.stored().runtime.state is RuntimeState.IDLE


def test_a_runtime_that_retired_stays_retired_though_its_run_did_not_survive() -> None:
    """Where the run was begun from is remembered in the store."""
    scene = Scene()
    scene.accept(prompt())
    scene.tell(commands.Retire(new_id()))
    scene.started()
    scene.recover(adopt_live_runs=False)
    assert scene.state is RuntimeState.RETIRED


@pytest.mark.parametrize("state", [RuntimeState.STOPPED, RuntimeState.DESTROYED])
def test_an_ended_runtime_with_active_inputs_is_corrupt(state: RuntimeState) -> None:
    """It is not activated: nothing is touched."""
    scene = Scene()
    scene.accept(prompt())
    ended = msgspec.structs.replace(scene.driver.runtime, state=state)
    with pytest.raises(CorruptRuntimeError, match=f"runtime {RUNTIME} is {state} and has 1 active"):
        _revive(scene, stored(scene, runtime=ended))


def test_a_run_that_is_not_there_does_not_hold_its_runtime() -> None:
    """A current run whose row is missing, or says that it has ended, is none."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.started()
    run = scene.driver.run
    assert run is not None
    ended = msgspec.structs.replace(run, state=RunState.COMPLETED)
    for gone in (None, ended):
        _revive(scene, stored(scene, run=gone), adopt=True)
        assert (scene.state, scene.queue) == (RuntimeState.IDLE, [input_id])
        assert scene.driver.take().runs == ()


# --- rule 8: quarantine --------------------------------------------------------------------------


def test_records_that_cannot_be_read_are_reported_and_the_rest_loads() -> None:
    """One damaged row does not poison a runtime."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    corrupt = CorruptRecord("not-a-uuid", "$.state: expected a known value", b"{}")
    report = _revive(scene, stored(scene, corrupt=(corrupt,)))
    assert report.details == ("quarantined not-a-uuid: $.state: expected a known value",)
    assert scene.queue == ids


def test_a_live_run_goes_on_without_an_input_that_was_quarantined() -> None:
    """A receipt can no longer be had for it, so the others end without it."""
    scene = Scene()
    lost, kept = scene.accept_all(flow_step(), flow_step())
    scene.started()
    [_, record] = scene.driver.active_inputs()
    _revive(scene, stored(scene, inputs=(record,)), adopt=True)
    assert scene.boundary([kept]) == Ok()
    assert scene.complete([kept]) == Ok()
    assert scene.states(kept) == [InputState.CONSUMED]
    assert scene.driver.find(lost) is None


# --- adopting a live run -------------------------------------------------------------------------


def test_a_run_under_its_lease_is_adopted() -> None:
    """Its executor reports to the new driver as if nothing had happened."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step(), prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.boundary(ids[:1])
    scene.driver.take()
    scene.wait(59)
    report = scene.recover().report
    assert report.details == (
        f"run {run_id} is alive: it stays current, and its inputs stay staged",
    )
    assert scene.driver.take() == Changes()
    assert scene.states(*ids) == ["applied_pending_consumption", "staged", "queued"]
    assert scene.boundary(ids[1:2]) == Ok()
    assert scene.complete() == Ok()
    assert scene.states(*ids) == ["consumed", "consumed", "queued"]


def test_a_run_that_nobody_has_taken_yet_is_adopted() -> None:
    """Its request still waits in the pool."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.wait(10_000)
    scene.recover()
    assert scene.run_id == run_id
    assert scene.hear(RunStarted(run_id)) == Ok()


def test_a_run_past_its_lease_is_not_adopted() -> None:
    """Its executor is taken for dead, and what it says later is stale."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    receipt = scene.receipt()
    scene.driver.take()
    scene.wait(60)
    scene.recover()
    [run] = scene.driver.take().runs
    assert (run.state, run.error) == (RunState.FAILED, "lease expired")
    assert scene.queue == ids
    scene.wait(1)
    assert scene.started().input_ids == tuple(ids)
    assert scene.hear(BoundaryApplied(run_id, receipt)) != Ok()


def test_what_kills_its_executor_is_given_up_though_its_runtime_was_out_of_memory() -> None:
    """Alone and out of attempts, an input ends at recovery as it would by the lease's timer."""
    scene = Scene(max_attempts=1)
    [input_id] = scene.accept_all(prompt())
    scene.hear(RunStarted(scene.started().run_id))
    scene.driver.take()
    scene.wait(60)
    recovered = scene.recover()
    changes = scene.driver.take()
    assert effects(changes, BuryInput) == [
        BuryInput(input_id, "given up after 1 attempt: lease expired")
    ]
    assert recovered.report.counts["inputs_abandoned"] == 1
    assert scene.queue == []


def test_a_run_past_its_lease_comes_back_in_halves() -> None:
    """A batch that killed its executor is bisected, whoever noticed."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.hear(RunStarted(scene.started().run_id))
    scene.wait(60)
    scene.recover()
    assert isinstance(scene.start(), NothingToRun)
    scene.wait(1)
    assert scene.started().input_ids == (ids[0],)


def test_a_run_past_its_lease_that_had_applied_all_leaves_nothing_to_retry() -> None:
    """Receipts decide first."""
    scene = Scene()
    scene.accept_all(prompt())
    scene.started()
    scene.boundary()
    scene.driver.take()
    scene.wait(60)
    scene.recover()
    assert scene.driver.runtime.retry is None
    assert scene.queue == []


def test_a_retired_runtime_keeps_its_live_run() -> None:
    """It drains the run after recovery as before."""
    scene = Scene()
    scene.accept_all(prompt())
    scene.started()
    scene.tell(commands.Retire(new_id()))
    scene.recover()
    assert scene.state is RuntimeState.RETIRED
    scene.boundary()
    assert scene.complete() == Ok()
    assert scene.state is RuntimeState.RETIRED


# --- waking --------------------------------------------------------------------------------------


def test_requeued_inputs_wake_the_runtime_if_their_policy_does() -> None:
    """What was being run is run again; what wakes nobody waits."""
    for item, wakes in ((prompt(), True), (peer_progress(), False)):
        scene = Scene()
        scene.accept(item)
        scene.start(forced=True)
        scene.recover(adopt_live_runs=False)
        assert scene.driver.wants_run(scene.now) is wakes
        assert scene.driver.asked_to_wake is wakes


def test_a_busy_runtime_s_prompts_are_processed_after_recovery() -> None:
    """They woke nobody when they came, because the runtime was at it already."""
    scene = Scene()
    scene.accept_all(prompt())
    scene.started()
    [late] = scene.accept_all(prompt())
    scene.boundary()
    scene.recover(adopt_live_runs=False)
    assert scene.started().input_ids == (late,)
