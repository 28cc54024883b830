"""Control: each command, its report, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from schemas import commands
from schemas.commands import Command
from schemas.events import (
    InputAbandoned,
    RuntimeDestroyed,
    RuntimeRecycled,
    RuntimeRetired,
    StateChanged,
)
from schemas.lifecycle import AbandonReason, InputState, RunState, RuntimeState
from schemas.outcomes import Abandoned, AbandonedOutcome, Accepted, Ok, Refused, Report, Stale
from schemas.records import (
    Changes,
    CommandRecord,
    Known,
    Rebuild,
    RequestRun,
    SignalExecutor,
    TimerKind,
)
from schemas.runs import RunStarted, SignalKind
from tests.unit.driver.scene import (
    REPLY,
    RUNTIME,
    Scene,
    announced,
    completions,
    effects,
    flow_step,
    new_id,
    peer_progress,
    peer_request,
    prompt,
)

_ENDS = [
    (commands.Stop, "stop", RuntimeState.STOPPED),
    (commands.Destroy, "destroy", RuntimeState.DESTROYED),
]


def _counts(outcome: object) -> dict[str, int]:
    assert isinstance(outcome, Report)
    return outcome.counts


# --- dedupe and records --------------------------------------------------------------------------


def test_a_command_leaves_a_record_with_its_report() -> None:
    """For the audit, and for every repetition."""
    scene = Scene()
    command = commands.Retire(new_id())
    outcome = scene.tell(command)
    assert outcome == Report("retire", {"inputs_abandoned": 0, "inputs_pending_drain": 0})
    [record] = scene.driver.take().commands
    assert record == CommandRecord(
        command.command_id, "retire", msgspec.to_builtins(outcome), scene.now
    )


@pytest.mark.parametrize(
    "command",
    [commands.Detach(new_id()), commands.AbandonPending(new_id(), AbandonReason.CANCELLED)],
)
def test_a_repeated_command_gets_the_same_report_again(command: Command) -> None:
    """Refused or carried out: the store gives the report back, and nothing happens."""
    scene = Scene()
    first = scene.tell(command)
    [record] = scene.driver.take().commands
    known = Known(commands={record.command_id: record.outcome})
    [input_id] = scene.accept_all(prompt())
    scene.driver.take()
    assert scene.tell(command, known=known) == first
    assert scene.driver.take() == Changes()
    assert scene.states(input_id) == [InputState.QUEUED]


def test_a_command_repeated_in_one_batch_is_carried_out_once() -> None:
    """The second time nothing is left to do, and yet the report is that of the first."""
    scene = Scene()
    scene.accept(prompt())
    command = commands.Reset(new_id())
    assert _counts(scene.tell(command)) == {"inputs_abandoned": 1}
    assert _counts(scene.tell(command)) == {"inputs_abandoned": 1}
    assert len(scene.driver.take().commands) == 1


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (commands.Stop, RuntimeState.STOPPED),
        (commands.Stop, RuntimeState.DESTROYED),
        (commands.Destroy, RuntimeState.DESTROYED),
        (commands.Retire, RuntimeState.RETIRED),
        (commands.Reset, RuntimeState.STOPPED),
        (commands.Recycle, RuntimeState.RECOVERING),
        (commands.Recover, RuntimeState.RETIRED),
        (commands.Attach, RuntimeState.RETIRED),
        (commands.Detach, RuntimeState.IDLE),
        (commands.CancelRun, RuntimeState.IDLE),
        (lambda i: commands.CancelInput(i, new_id()), RuntimeState.IDLE),
        (lambda i: commands.SetSilentIntents(i, ("a",)), RuntimeState.STOPPED),
    ],
)
def test_what_the_state_forbids_is_refused(
    make: Callable[..., Command], state: RuntimeState
) -> None:
    """The answer names the command; nothing changes but the record of the command."""
    scene = Scene(state=state)
    outcome = scene.tell(make(new_id()))
    assert isinstance(outcome, Refused)
    assert not outcome.unknown_run
    changes = scene.driver.take()
    assert len(changes.commands) == 1
    assert msgspec.structs.replace(changes, commands=()) == Changes()


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "name", "state"), _ENDS)
def test_the_end_of_a_runtime_abandons_all_its_inputs(
    make: Callable[..., Command], name: str, state: RuntimeState
) -> None:
    """Waiting or in a run; the run ends too, and its executor is told."""
    scene = Scene()
    first = flow_step()
    scene.accept(first, reply=REPLY)
    ids = [first.header.id, *scene.accept_all(flow_step(), prompt())]
    run_id = scene.started().run_id
    scene.hear(RunStarted(run_id))
    scene.boundary(ids[1:2])
    scene.driver.take()
    assert scene.tell(make(new_id())) == Report(name, {"inputs_abandoned": 3})
    reason = AbandonReason.DESTROYED
    assert [scene.record(each).outcome for each in ids] == [Abandoned(reason)] * 3
    assert scene.state is state
    assert scene.hear(RunStarted(run_id)) == Stale()
    changes = scene.driver.take()
    [run] = changes.runs
    assert (run.state, run.ended_at) == (RunState.CANCELLED, scene.now)
    assert changes.timers == {TimerKind.RUN_LEASE: None}
    assert effects(changes, SignalExecutor) == [SignalExecutor(SignalKind.CANCEL_RUN, run_id)]
    assert completions(changes) == {ids[0]: AbandonedOutcome(reason)}
    assert StateChanged(RuntimeState.RUNNING, state) in announced(changes)
    assert InputAbandoned(ids[2], reason) in announced(changes)
    destroyed = RuntimeDestroyed(RUNTIME) in announced(changes)
    assert destroyed is (state is RuntimeState.DESTROYED)
    runtime = scene.driver.runtime
    assert (runtime.current_run_id, runtime.woken, runtime.retry) == (None, False, None)


def test_a_stopped_runtime_can_be_destroyed_and_stays_so() -> None:
    """Destroyed never comes back as stopped."""
    scene = Scene()
    scene.tell(commands.Stop(new_id()))
    scene.tell(commands.Destroy(new_id()))
    assert scene.state is RuntimeState.DESTROYED
    assert isinstance(scene.tell(commands.Stop(new_id())), Refused)
    assert scene.state is RuntimeState.DESTROYED


def test_an_end_during_a_backoff_clears_it() -> None:
    """Nothing is retried in a runtime that has ended."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    scene.fail()
    scene.driver.take()
    scene.tell(commands.Stop(new_id()))
    changes = scene.driver.take()
    assert changes.timers == {TimerKind.RETRY: None}
    assert changes.runtime is not None
    assert changes.runtime.retry is None


# --- retire, reset -------------------------------------------------------------------------------


def test_a_retired_runtime_drains_what_waits() -> None:
    """Also what would wake nobody: no input will come any more to wake it."""
    scene = Scene()
    ids = scene.accept_all(peer_progress())
    outcome = scene.tell(commands.Retire(new_id()))
    assert _counts(outcome) == {"inputs_abandoned": 0, "inputs_pending_drain": 1}
    assert scene.driver.asked_to_wake
    assert RuntimeRetired(RUNTIME) in announced(scene.driver.take())
    assert scene.perform().input_ids == tuple(ids)
    assert scene.state is RuntimeState.RETIRED


def test_reset_abandons_all_and_begins_anew() -> None:
    """A retired runtime takes input again."""
    scene = Scene()
    ids = scene.accept_all(prompt(), peer_progress())
    scene.tell(commands.Retire(new_id()))
    assert _counts(scene.tell(commands.Reset(new_id()))) == {"inputs_abandoned": 2}
    outcomes = [scene.record(each).outcome for each in ids]
    assert outcomes == [Abandoned(AbandonReason.RESET)] * 2
    assert scene.state is RuntimeState.IDLE
    assert isinstance(scene.accept(prompt()), Accepted)


@pytest.mark.parametrize("make", [commands.Reset, commands.Recycle])
@pytest.mark.parametrize("retired", [False, True])
def test_what_needs_rest_is_refused_during_a_run(
    make: Callable[..., Command], *, retired: bool
) -> None:
    """Reset and recycle wait for the end of the run, also in a retired runtime."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    if retired:
        scene.tell(commands.Retire(new_id()))
    assert isinstance(scene.tell(make(new_id())), Refused)
    assert scene.run_id == run_id


# --- recycle, recover, resume, attach ------------------------------------------------------------


@pytest.mark.parametrize("retired", [False, True])
def test_recycle_keeps_the_work_and_has_the_driver_rebuilt(*, retired: bool) -> None:
    """The runtime is idle afterwards, and drains what waited."""
    scene = Scene()
    ids = scene.accept_all(prompt(), flow_step())
    if retired:
        scene.tell(commands.Retire(new_id()))
    scene.driver.take()
    assert scene.tell(commands.Recycle(new_id())) == Report("recycle", {"inputs_transferred": 2})
    changes = scene.driver.take()
    assert effects(changes, Rebuild) == [Rebuild()]
    assert RuntimeRecycled(RUNTIME) in announced(changes)
    assert (scene.state, scene.queue) == (RuntimeState.IDLE, ids)
    scene.recover()
    assert scene.perform().input_ids == (ids[0],)


def test_recover_keeps_a_live_run() -> None:
    """Recovery now is recovery as at activation."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), prompt())
    run_id = scene.started().run_id
    outcome = scene.tell(commands.Recover(new_id()))
    counts = {"inputs_recovered": 2, "inputs_requeued": 0, "inputs_abandoned": 0}
    assert _counts(outcome) == counts
    assert (scene.state, scene.run_id) == (RuntimeState.RUNNING, run_id)
    assert effects(scene.driver.take(), Rebuild) == [Rebuild()]
    assert scene.boundary(ids[:1]) == Ok()


def test_recover_gives_up_a_run_past_its_lease() -> None:
    """Its inputs wait again; what was applied is consumed by its receipt."""
    scene = Scene()
    ids = scene.accept_all(flow_step(), flow_step())
    scene.hear(RunStarted(scene.started().run_id))
    scene.boundary(ids[:1])
    scene.wait(60)
    outcome = scene.tell(commands.Recover(new_id()))
    counts = {"inputs_recovered": 2, "inputs_requeued": 1, "inputs_abandoned": 0}
    assert _counts(outcome) == counts
    assert scene.states(*ids) == [InputState.CONSUMED, InputState.QUEUED]
    assert scene.state is RuntimeState.IDLE
    scene.wait(1)
    assert scene.started().input_ids == (ids[1],)


def test_recover_leaves_a_draining_runtime_retired() -> None:
    """A run past its lease was begun in a retired runtime, and that is where it goes back to."""
    scene = Scene()
    ids = scene.accept_all(prompt())
    scene.tell(commands.Retire(new_id()))
    scene.hear(RunStarted(scene.started().run_id))
    scene.wait(60)
    scene.tell(commands.Recover(new_id()))
    assert (scene.state, scene.queue) == (RuntimeState.RETIRED, ids)


def test_recover_at_rest_goes_through_recovering() -> None:
    """Observers see it."""
    scene = Scene()
    scene.tell(commands.Recover(new_id()))
    told = announced(scene.driver.take())
    assert told == [
        StateChanged(RuntimeState.IDLE, RuntimeState.RECOVERING),
        StateChanged(RuntimeState.RECOVERING, RuntimeState.IDLE),
    ]


@pytest.mark.parametrize("state", RuntimeState)
def test_resume_leaves_recovering_and_does_nothing_elsewhere(state: RuntimeState) -> None:
    """It is never refused."""
    scene = Scene(state=state)
    assert scene.tell(commands.Resume(new_id())) == Report("resume", {})
    assert scene.state is (RuntimeState.IDLE if state is RuntimeState.RECOVERING else state)


def test_an_executor_is_attached_and_detached() -> None:
    """Bound in-process, the runtime is attached; a run leads back there."""
    scene = Scene()
    assert scene.tell(commands.Attach(new_id())) == Report("attach", {})
    assert scene.state is RuntimeState.ATTACHED
    assert isinstance(scene.tell(commands.Attach(new_id())), Refused)
    scene.accept(prompt())
    scene.perform()
    states = [scene.state]
    scene.tell(commands.Detach(new_id()))
    assert [*states, scene.state] == [RuntimeState.ATTACHED, RuntimeState.IDLE]


# --- runs and inputs -----------------------------------------------------------------------------


def test_only_the_current_run_can_be_cancelled() -> None:
    """A command for another run does not hit this one."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    other = new_id()
    outcome = scene.tell(commands.CancelRun(new_id(), other))
    assert outcome == Refused(f"cancel_run: run {other} is not the current run")
    assert scene.run_id == run_id
    scene.hear(RunStarted(run_id))
    assert _counts(scene.tell(commands.CancelRun(new_id()))) == {"runs_cancelled": 1}


def test_an_input_that_waits_can_be_cancelled() -> None:
    """It leaves its lane, and whoever waits is told."""
    scene = Scene()
    item = prompt()
    scene.accept(item, reply=REPLY)
    [other] = scene.accept_all(prompt())
    outcome = scene.tell(commands.CancelInput(new_id(), item.header.id))
    assert _counts(outcome) == {"inputs_abandoned": 1}
    assert scene.queue == [other]
    told = AbandonedOutcome(AbandonReason.CANCELLED)
    assert completions(scene.driver.take()) == {item.header.id: told}


def test_an_input_in_a_run_cannot_be_cancelled() -> None:
    """The run must be cancelled first: its executor has the input."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    run_id = scene.started().run_id
    outcome = scene.tell(commands.CancelInput(new_id(), input_id))
    assert outcome == Refused(f"cancel_input: input {input_id} is in run {run_id}")


def test_an_input_that_has_ended_cannot_be_cancelled() -> None:
    """It stays as it ended."""
    scene = Scene()
    [input_id] = scene.accept_all(prompt())
    scene.perform()
    assert isinstance(scene.tell(commands.CancelInput(new_id(), input_id)), Refused)
    assert scene.states(input_id) == [InputState.CONSUMED]


def test_abandoning_what_waits_leaves_a_run_in_flight_alone() -> None:
    """Its inputs are its executor's; the report says so."""
    scene = Scene()
    staged = scene.accept_all(flow_step())
    scene.started()
    waiting = scene.accept_all(prompt(), peer_progress())
    command = commands.AbandonPending(new_id(), AbandonReason.CANCELLED)
    outcome = scene.tell(command)
    assert outcome == Report(
        "abandon_pending",
        {"inputs_abandoned": 2},
        ("1 inputs are part of the run in flight and stay with it",),
    )
    assert scene.states(*staged, *waiting) == ["staged", "abandoned", "abandoned"]
    assert scene.record(waiting[0]).outcome == Abandoned(AbandonReason.CANCELLED)
    scene.boundary()
    assert scene.complete() == Ok()
    assert not scene.driver.runtime.woken


def test_silent_intents_are_set_and_cleared() -> None:
    """The last command counts, also after a recovery."""
    scene = Scene()
    outcome = scene.tell(commands.SetSilentIntents(new_id(), ("a", "b")))
    assert _counts(outcome) == {"intents": 2}
    scene.recover()
    scene.accept(peer_request("b"))
    assert not scene.driver.wants_run(scene.now)
    scene.tell(commands.SetSilentIntents(new_id(), ()))
    scene.accept(peer_request("b"))
    assert scene.driver.wants_run(scene.now)


# --- waking --------------------------------------------------------------------------------------


def test_a_wake_processes_what_waits() -> None:
    """As if an input had woken the runtime."""
    scene = Scene()
    ids = scene.accept_all(peer_progress())
    assert _counts(scene.tell(commands.Wake(new_id()))) == {"inputs_waiting": 1}
    assert scene.driver.asked_to_wake
    assert scene.started().input_ids == tuple(ids)


def test_a_wake_with_nothing_to_do_is_forgotten() -> None:
    """It does not wait for an input that wakes nobody."""
    scene = Scene()
    scene.tell(commands.Wake(new_id()))
    assert not scene.driver.asked_to_wake
    scene.accept(peer_progress())
    assert not scene.driver.wants_run(scene.now)


def test_a_wake_requests_a_run_again_that_nobody_takes() -> None:
    """Its request may have been lost with its pool; the run is the same, and so are its inputs."""
    scene = Scene(request_seconds=30)
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.driver.take()
    scene.wait(29)
    scene.tell(commands.Wake(new_id()))
    assert effects(scene.driver.take(), RequestRun) == []
    scene.wait(1)
    scene.tell(commands.Wake(new_id()))
    changes = scene.driver.take()
    [request] = effects(changes, RequestRun)
    assert (request.run.run_id, request.run.attempt) == (run_id, 1)
    assert (request.run.requested_at, request.traceparent) == (scene.now, "trace-1")
    assert changes.runs == (request.run,)
    scene.hear(RunStarted(run_id))
    scene.driver.take()
    scene.wait(60)
    scene.tell(commands.Wake(new_id()))
    assert effects(scene.driver.take(), RequestRun) == []


def test_a_paused_runtime_begins_no_run() -> None:
    """It takes input all the same."""
    scene = Scene()
    paused = msgspec.structs.replace(scene.driver.runtime, paused=True)
    scene.driver = type(scene.driver).fresh(paused, scene.options)
    scene.accept(prompt())
    assert not scene.driver.wants_run(scene.now)
