"""Where this driver differs from meerkat-runtime 0.5.0 on purpose: a test for each."""

from __future__ import annotations

from schemas import commands
from schemas.lifecycle import InputState, RuntimeState
from schemas.outcomes import Accepted, Conflict, Deduplicated, Refused
from schemas.records import Changes
from schemas.runs import RunFailed, RunStarted
from tests.unit.driver.scene import (
    Scene,
    flow_step,
    new_id,
    peer_progress,
    prompt,
)
from worker.driver.recovery import recover


def test_the_driver_is_a_cache_and_a_failed_commit_drops_it() -> None:
    """A driver whose changes were never committed leaves nothing behind."""
    scene = Scene()
    [committed] = scene.accept_all(prompt())
    scene.driver.take()
    truth = scene.driver.stored()
    scene.accept(prompt())
    scene.started()
    scene.driver = recover(truth, now=scene.now, options=scene.options).driver
    assert scene.queue == [committed]
    assert scene.driver.take() == Changes()


def test_only_changed_rows_are_written() -> None:
    """The end of a run writes its own inputs, whatever else waits."""
    scene = Scene()
    scene.accept_all(*(prompt() for _ in range(100)))
    batch = scene.started().input_ids
    scene.boundary()
    scene.driver.take()
    scene.complete()
    assert [record.input_id for record in scene.driver.take().updated] == list(batch)


def test_terminal_inputs_live_in_the_store() -> None:
    """Once the changes are taken, the driver has forgotten what ended: inputs, keys, runs."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt(idempotency_key="k"))
    run_id = scene.perform().run_id
    assert scene.states(input_id) == [InputState.CONSUMED]
    scene.driver.take()
    assert scene.driver.find(input_id) is None
    assert scene.driver.stored().inputs == ()
    assert isinstance(scene.hear(RunStarted(run_id)), Refused)
    assert isinstance(scene.accept(prompt(idempotency_key="k")), Accepted)


def test_a_rollback_keeps_admission_order() -> None:
    """A batch that comes back is not turned round."""
    scene = Scene()
    ids = scene.accept_all(*(flow_step() for _ in range(4)))
    scene.started()
    scene.fail()
    assert scene.queue == ids


def test_recovery_keeps_admission_order() -> None:
    """Lanes are filled in the order of admission."""
    scene = Scene()
    ids = scene.accept_all(*(flow_step() for _ in range(20)))
    scene.started()
    scene.recover(adopt_live_runs=False)
    assert scene.queue == ids


def test_a_coalesced_input_leaves_its_lane() -> None:
    """It does not come back after a recovery either."""
    scene = Scene()
    ids = scene.accept_all(peer_progress(supersession_key="s"), peer_progress(supersession_key="s"))
    assert scene.steer == ids[1:]
    scene.recover()
    assert scene.steer == ids[1:]


def test_the_same_input_id_again_is_deduplicated_or_a_conflict() -> None:
    """The entry in the ledger is never overwritten."""
    scene = Scene()
    item = prompt()
    scene.accept(item)
    before = scene.record(item.header.id)
    assert isinstance(scene.accept(item), Deduplicated)
    assert isinstance(scene.accept(prompt(text="other", id=item.header.id)), Conflict)
    assert scene.record(item.header.id) == before


def test_inputs_applied_in_a_run_that_failed_are_consumed_at_its_end() -> None:
    """Their receipt proves that they were applied; no recovery is needed to see it."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.boundary(ids[:1])
    scene.fail()
    assert scene.states(*ids) == [InputState.CONSUMED, InputState.QUEUED]


def test_a_completion_without_a_boundary_is_refused_and_the_lease_ends_the_run() -> None:
    """The inputs are tried again instead of being stranded."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    assert isinstance(scene.complete(ids), Refused)
    run = scene.driver.run
    assert run is not None
    scene.wait(60)
    scene.hear(RunFailed(run_id, "lease expired", recoverable=True, lease_until=run.lease_until))
    assert scene.queue == ids


def test_attempts_bound_retries() -> None:
    """The attempt count is looked at: a culprit ends."""
    scene = Scene(max_attempts=2)
    [input_id] = scene.accept_all(prompt())
    for _ in range(2):
        scene.wait(60)
        scene.started()
        scene.fail()
    assert scene.states(input_id) == [InputState.ABANDONED]


def test_batches_bisect() -> None:
    """A culprit does not take its neighbours with it."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.started()
    scene.fail(recoverable=False)
    assert scene.started().input_ids == (ids[0],)
    scene.fail(recoverable=False)
    assert scene.perform().input_ids == (ids[1],)
    assert scene.states(*ids) == [InputState.ABANDONED, InputState.CONSUMED]


def test_a_live_run_survives_the_worker() -> None:
    """Its executor is elsewhere, and goes on."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.recover()
    scene.boundary()
    scene.complete()
    assert (scene.state, scene.states(*ids)) == (RuntimeState.IDLE, [InputState.CONSUMED])


def test_after_recovery_only_inputs_whose_policy_wakes_wake_the_runtime() -> None:
    """A queued input that woke nobody when it came wakes nobody now."""
    scene = Scene()
    scene.accept(peer_progress())
    scene.recover()
    assert not scene.driver.wants_run(scene.now)
    scene.accept(prompt())
    scene.recover()
    assert scene.driver.wants_run(scene.now)


def test_an_end_leaves_nothing_active() -> None:
    """So that no terminal runtime can be found corrupt by its own doing."""
    scene = Scene()
    scene.accept_all(prompt(), flow_step(), peer_progress())
    scene.started()
    scene.tell(commands.Stop(new_id()))
    scene.driver.take()
    assert scene.driver.stored().inputs == ()
    scene.recover()
    assert scene.state is RuntimeState.STOPPED
