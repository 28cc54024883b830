"""Admission: what becomes of an input, check by check in their order."""

from __future__ import annotations

import gc
from collections.abc import Callable

import msgspec
import pytest

from schemas import commands
from schemas.events import (
    InputAccepted,
    InputCoalesced,
    InputConsumed,
    InputDeduplicated,
    InputQueued,
    InputSuperseded,
)
from schemas.inputs import (
    Durability,
    ExternalSource,
    FlowSource,
    Input,
    OperatorSource,
    PeerSource,
    Source,
    SystemSource,
    payload_digest,
)
from schemas.lifecycle import AbandonReason, InputState, Lane, RuntimeState
from schemas.outcomes import (
    Abandoned,
    Accepted,
    Coalesced,
    CoalescedOutcome,
    CompletedOutcome,
    Conflict,
    ConflictOutcome,
    Consumed,
    Deduplicated,
    DeduplicatedOutcome,
    NotReady,
    NotReadyOutcome,
    Rejected,
    RejectedOutcome,
    Superseded,
    SupersededOutcome,
)
from schemas.records import Changes, HistoryEntry, Known, KnownInput, ReplyTo, SignalExecutor
from schemas.runs import SignalKind
from tests.unit.driver.scene import (
    DERIVED,
    QUEUE,
    REPLY,
    STEER,
    Scene,
    announced,
    completions,
    continuation,
    effects,
    external_event,
    flow_step,
    new_id,
    operation,
    peer_message,
    peer_progress,
    peer_request,
    peer_terminal,
    prompt,
)
from worker.driver.policy import load_policy

OTHER = ReplyTo("other", None)


def _with_source(item: Input, source: Source) -> Input:
    return msgspec.structs.replace(item, header=msgspec.structs.replace(item.header, source=source))


def test_a_new_input_is_accepted_and_waits() -> None:
    """Its record says all that is known of it, in its first version already queued."""
    scene = Scene()
    item = prompt(idempotency_key="key", supersession_key="scope")
    outcome = scene.accept(item, reply=REPLY)
    changes = scene.driver.take()
    [record] = changes.inserted
    assert isinstance(outcome, Accepted)
    assert outcome == Accepted(item.header.id, scene.options.policy.resolve(record.kind, idle=True))
    assert (record.state, record.lane, record.sequence) == (InputState.QUEUED, Lane.QUEUE, 0)
    assert (record.idempotency_key, record.supersession_key) == ("key", "scope")
    assert (record.payload_digest, record.kind) == (payload_digest(item), "prompt")
    assert (record.policy, record.reply) == (outcome.policy, REPLY)
    assert (record.traceparent, record.created_at) == ("trace-1", scene.now)
    assert record.history == (HistoryEntry(scene.now, InputState.ACCEPTED, InputState.QUEUED),)
    assert changes.updated == ()
    assert announced(changes) == [InputAccepted(item.header.id), InputQueued(item.header.id)]


def test_what_waits_is_no_work_for_the_garbage_collector() -> None:
    """To walk over a hundred thousand waiting inputs would hold up all else of the process."""
    scene = Scene()
    item = prompt()
    scene.accept(item, reply=REPLY)
    record = scene.record(item.header.id)
    parts = (record, record.policy, record.reply, *record.history)
    assert [type(one).__name__ for one in parts if gc.is_tracked(one)] == []


def test_admissions_are_numbered_in_the_order_of_arrival() -> None:
    """Each input gets the next sequence, whatever becomes of it."""
    scene = Scene()
    ids = scene.accept_all(prompt(), operation(), peer_progress())
    assert [scene.record(input_id).sequence for input_id in ids] == [0, 1, 2]
    assert scene.driver.runtime.next_sequence == 3


def test_nothing_is_announced_where_nobody_listens() -> None:
    """Runtime events are not made when they are switched off."""
    scene = Scene(announce=False)
    scene.accept(prompt())
    scene.perform()
    scene.tell(commands.Retire(new_id()))
    assert announced(scene.driver.take()) == []


# --- 1. the runtime takes no input ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (commands.Retire, RuntimeState.RETIRED),
        (commands.Stop, RuntimeState.STOPPED),
        (commands.Destroy, RuntimeState.DESTROYED),
    ],
)
def test_a_runtime_that_has_closed_is_not_ready(
    command: Callable[..., commands.Command], state: RuntimeState
) -> None:
    """The input leaves no trace, and whoever waits is told."""
    scene = Scene()
    scene.tell(command(new_id()))
    scene.driver.take()
    item = prompt(durability=DERIVED)
    assert scene.accept(item, reply=REPLY) == NotReady(state)
    changes = scene.driver.take()
    assert completions(changes) == {item.header.id: NotReadyOutcome(state)}
    assert changes.inserted == ()


@pytest.mark.parametrize("state", [RuntimeState.INITIALIZING, RuntimeState.RECOVERING])
def test_a_runtime_that_is_not_there_yet_is_not_ready(state: RuntimeState) -> None:
    """Before a runtime is idle it takes nothing."""
    assert Scene(state=state).accept(prompt()) == NotReady(state)


def test_a_retired_runtime_stays_closed_while_it_drains() -> None:
    """A run that it begins does not open it to new inputs."""
    scene = Scene()
    scene.accept(prompt())
    scene.tell(commands.Retire(new_id()))
    scene.started()
    assert scene.state is RuntimeState.RUNNING
    assert scene.accept(prompt()) == NotReady(RuntimeState.RETIRED)


def test_a_redelivery_to_a_closed_runtime_is_marked_and_answered_as_a_duplicate() -> None:
    """It was taken before: telling its publisher that it was not would be false."""
    scene = Scene()
    item, ended = prompt(), prompt()
    scene.accept(item, reply=REPLY)
    scene.tell(commands.Retire(new_id()))
    scene.driver.take()
    marked = NotReady(RuntimeState.RETIRED, known=True)
    assert scene.accept(item, reply=REPLY) == marked
    assert scene.driver.take() == Changes()
    assert scene.accept(item, reply=OTHER) == marked
    assert [record.reply for record in scene.driver.take().updated] == [OTHER]
    known = Known({ended.header.id: _known(ended)})
    assert scene.accept(ended, reply=REPLY, known=known) == marked
    told = DeduplicatedOutcome(ended.header.id, Consumed())
    assert completions(scene.driver.take()) == {ended.header.id: told}


def test_another_payload_under_a_known_id_is_not_ready_like_any_other() -> None:
    """A closed runtime does not look for conflicts."""
    scene = Scene()
    item = prompt()
    scene.accept(item)
    scene.tell(commands.Retire(new_id()))
    scene.driver.take()
    other = prompt(text="other", id=item.header.id)
    assert scene.accept(other, reply=REPLY) == NotReady(RuntimeState.RETIRED)
    told = {item.header.id: NotReadyOutcome(RuntimeState.RETIRED)}
    assert completions(scene.driver.take()) == told


# --- 2. durability -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        (OperatorSource(), True),
        (PeerSource("ada"), True),
        (ExternalSource("webhook"), True),
        (SystemSource(), False),
        (FlowSource("flow", 1), False),
    ],
)
def test_only_what_the_system_makes_itself_is_derived(source: Source, *, refused: bool) -> None:
    """What operators, peers and outsiders send cannot be made again from other state."""
    scene = Scene()
    item = _with_source(peer_progress(durability=DERIVED), source)
    outcome = scene.accept(item, reply=REPLY)
    assert isinstance(outcome, Rejected if refused else Accepted)
    if isinstance(outcome, Rejected):
        assert outcome.reason == f"durability: derived is not for inputs of source {_tag(source)}"
        assert completions(scene.driver.take()) == {item.header.id: RejectedOutcome(outcome.reason)}


def _tag(source: Source) -> str:
    return str(source.__struct_config__.tag)


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (prompt, True),
        (flow_step, True),
        (peer_message, True),
        (peer_request, True),
        (peer_terminal, True),
        (peer_progress, False),
        (external_event, False),
        (continuation, False),
        (operation, False),
    ],
)
def test_some_kinds_are_never_derived(make: Callable[..., Input], *, refused: bool) -> None:
    """Prompts, flow steps and what peers want stand for themselves."""
    item = _with_source(make(durability=DERIVED), SystemSource())
    assert isinstance(Scene().accept(item), Rejected if refused else Accepted)


@pytest.mark.parametrize("durability", [Durability.DURABLE, Durability.EPHEMERAL])
def test_other_durabilities_are_for_everyone(durability: Durability) -> None:
    """The rules are about derived inputs only."""
    assert isinstance(Scene().accept(prompt(durability=durability)), Accepted)


# --- 3. duplicates -------------------------------------------------------------------------------


def _known(item: Input, *, ended: bool = True, digest: str | None = None) -> KnownInput:
    return KnownInput(
        item.header.id,
        InputState.CONSUMED if ended else InputState.QUEUED,
        digest or payload_digest(item),
        Consumed() if ended else None,
    )


def test_the_same_input_again_changes_nothing() -> None:
    """A redelivery of an active input is recognised; its reply is as before."""
    scene = Scene(announce=False)
    item = prompt()
    scene.accept(item, reply=REPLY)
    scene.driver.take()
    for reply in (REPLY, None):
        assert scene.accept(item, reply=reply) == Deduplicated(item.header.id, item.header.id)
    assert scene.driver.take() == Changes()


def test_the_latest_asker_is_told() -> None:
    """A duplicate of an active input that names another reply takes it over."""
    scene = Scene()
    item = prompt()
    scene.accept(item, reply=REPLY)
    scene.driver.take()
    scene.accept(item, reply=OTHER)
    changes = scene.driver.take()
    assert [record.reply for record in changes.updated] == [OTHER]
    assert completions(changes) == {}
    assert announced(changes) == [InputDeduplicated(item.header.id, item.header.id)]


def test_a_duplicate_of_an_ended_input_is_answered_with_its_end() -> None:
    """Whether it ended in this batch or long ago, whoever asks again hears how."""
    scene = Scene()
    item = operation()
    scene.accept(item)
    assert isinstance(scene.accept(item, reply=REPLY), Deduplicated)
    told = {item.header.id: DeduplicatedOutcome(item.header.id, Consumed())}
    assert completions(scene.driver.take()) == told
    known = Known({item.header.id: _known(item)})
    assert isinstance(scene.accept(item, reply=REPLY, known=known), Deduplicated)
    assert completions(scene.driver.take()) == told


def test_a_known_key_is_a_duplicate_whatever_its_payload() -> None:
    """By key there is no conflict: the publisher says that it is the same thing."""
    scene = Scene()
    first, second = prompt(idempotency_key="k"), prompt(text="other", idempotency_key="k")
    scene.accept(first)
    assert scene.accept(second, reply=REPLY) == Deduplicated(second.header.id, first.header.id)
    assert completions(scene.driver.take()) == {
        second.header.id: DeduplicatedOutcome(first.header.id)
    }


def test_a_key_of_an_ended_input_stays_known() -> None:
    """From the ledger until the changes are taken, from the store afterwards."""
    scene = Scene()
    first, second = operation(idempotency_key="k"), prompt(idempotency_key="k")
    scene.accept(first)
    expected = {second.header.id: DeduplicatedOutcome(first.header.id, Consumed())}
    scene.accept(second, reply=REPLY)
    assert completions(scene.driver.take()) == expected
    known = Known(keys={"k": _known(first)})
    assert scene.accept(second, reply=REPLY, known=known) == Deduplicated(
        second.header.id, first.header.id
    )
    assert completions(scene.driver.take()) == expected


def test_the_same_id_with_another_payload_is_a_conflict() -> None:
    """It is reported with both digests, and changes nothing; a matching key does not help."""
    scene = Scene(announce=False)
    item = prompt(idempotency_key="k")
    other = prompt(text="other", id=item.header.id, idempotency_key="k")
    scene.accept(item)
    scene.driver.take()
    expected = Conflict(item.header.id, payload_digest(item), payload_digest(other))
    assert scene.accept(other, reply=REPLY) == expected
    changes = scene.driver.take()
    assert completions(changes) == {item.header.id: ConflictOutcome()}
    assert (changes.inserted, changes.updated) == ((), ())
    known = Known({item.header.id: _known(item, ended=False)})
    assert Scene().accept(other, known=known) == expected


def test_an_input_that_only_the_store_knows_as_active_is_a_duplicate() -> None:
    """A stored input of unknown origin holds its id."""
    scene = Scene()
    item = prompt()
    known = Known({item.header.id: _known(item, ended=False)})
    assert isinstance(scene.accept(item, reply=REPLY, known=known), Deduplicated)
    assert completions(scene.driver.take()) == {item.header.id: DeduplicatedOutcome(item.header.id)}


# --- an operator's redrive -----------------------------------------------------------------------


def _exhausted(scene: Scene, item: Input) -> Known:
    """Have an input given up, and tell what the store knows of it then."""
    scene.accept(item)
    scene.started()
    scene.fail(recoverable=False)
    [record] = scene.driver.take().inserted
    known = KnownInput(record.input_id, record.state, record.payload_digest, record.outcome)
    keys = {} if record.idempotency_key is None else {record.idempotency_key: known}
    return Known({record.input_id: known}, keys, exhausted={record.input_id: record})


def test_a_redrive_brings_back_an_input_that_was_given_up() -> None:
    """Under its own id, behind what waits, its attempts counted anew, its history carried on."""
    scene = Scene(max_attempts=2)
    item = prompt(idempotency_key="k")
    known = _exhausted(scene, item)
    waiting = scene.accept_all(prompt())
    scene.driver.take()
    outcome = scene.accept(item, known=known, redrive=True)
    assert isinstance(outcome, Accepted)
    assert scene.queue == [*waiting, item.header.id]
    changes = scene.driver.take()
    [record] = changes.updated
    assert changes.inserted == ()
    assert (record.sequence, record.attempt_count, record.outcome) == (2, 0, None)
    steps = [(entry.from_, entry.to, entry.reason) for entry in record.history]
    assert steps == [
        ("accepted", "queued", None),
        ("queued", "staged", None),
        ("staged", "abandoned", "attempts_exhausted"),
        ("abandoned", "accepted", "redriven by an operator"),
        ("accepted", "queued", None),
    ]


def test_a_redrive_with_another_body_is_no_conflict() -> None:
    """That is how an operator mends what was wrong with it."""
    scene = Scene()
    item = prompt()
    known = _exhausted(scene, item)
    mended = prompt(text="mended", id=item.header.id)
    assert isinstance(scene.accept(mended, known=known, redrive=True), Accepted)
    assert scene.record(item.header.id).payload_digest == payload_digest(mended)


def test_a_redrive_delivered_twice_is_a_duplicate() -> None:
    """The second finds the input active."""
    scene = Scene()
    item = prompt()
    known = _exhausted(scene, item)
    scene.accept(item, known=known, redrive=True)
    assert isinstance(scene.accept(item, known=known, redrive=True), Deduplicated)


def test_without_a_redrive_what_was_given_up_stays_so() -> None:
    """A publisher that repeats itself hears how it ended."""
    scene = Scene()
    item = prompt()
    known = _exhausted(scene, item)
    assert isinstance(scene.accept(item, known=known, reply=REPLY), Deduplicated)
    ended = Abandoned(AbandonReason.ATTEMPTS_EXHAUSTED)
    told = completions(scene.driver.take())
    assert told == {item.header.id: DeduplicatedOutcome(item.header.id, ended)}


# --- 4. and 5. policy ----------------------------------------------------------------------------


def test_a_busy_runtime_decides_as_busy() -> None:
    """The decision of an idle runtime differs from that of a busy one, and is recorded."""
    scene = Scene()
    scene.accept(prompt())
    scene.started()
    outcome = scene.accept(peer_message())
    assert isinstance(outcome, Accepted)
    assert outcome.policy.wake_mode == "interrupt_yielding"
    assert scene.record(outcome.input_id).policy == outcome.policy


def test_an_attached_runtime_decides_as_idle() -> None:
    """An executor bound in-process does not make a runtime busy."""
    scene = Scene()
    scene.tell(commands.Attach(new_id()))
    outcome = scene.accept(prompt())
    assert isinstance(outcome, Accepted)
    assert outcome.policy.wake_mode == "wake_if_idle"


def test_an_operation_is_consumed_at_once() -> None:
    """It is recorded, waits in no lane, wakes nobody, and its asker is told."""
    scene = Scene()
    item = operation()
    scene.accept(item, reply=REPLY)
    assert (scene.queue, scene.steer) == ([], [])
    assert not scene.driver.wants_run(scene.now)
    changes = scene.driver.take()
    [record] = changes.inserted
    assert (record.state, record.outcome, record.lane) == (InputState.CONSUMED, Consumed(), None)
    assert completions(changes) == {item.header.id: CompletedOutcome()}
    assert announced(changes) == [InputAccepted(item.header.id), InputConsumed(item.header.id)]


def test_a_silent_intent_waits_as_context() -> None:
    """It goes with the next run and wakes nobody; other intents are as ever."""
    scene = Scene()
    scene.tell(commands.SetSilentIntents(new_id(), ("gossip",)))
    silent = peer_request("gossip")
    outcome = scene.accept(silent)
    assert isinstance(outcome, Accepted)
    assert (outcome.policy.apply_mode, outcome.policy.wake_mode) == ("stage_run_start", "none")
    assert scene.queue == [silent.header.id]
    assert not scene.driver.wants_run(scene.now)
    loud = peer_request("question")
    scene.accept(loud)
    assert scene.started().input_ids == (silent.header.id, loud.header.id)


def test_a_silent_intent_does_not_disturb_a_run() -> None:
    """In a busy runtime it interrupts nobody."""
    scene = Scene()
    scene.tell(commands.SetSilentIntents(new_id(), ("gossip",)))
    scene.accept(prompt())
    scene.started()
    scene.accept_all(peer_request("gossip"), external_event())
    assert effects(scene.driver.take(), SignalExecutor) == []


# --- 6. lanes ------------------------------------------------------------------------------------


def test_inputs_wait_in_the_order_of_their_arrival() -> None:
    """Each in the lane that its route leads to."""
    scene = Scene()
    ids = scene.accept_all(prompt(), prompt(STEER), flow_step(), peer_progress(), prompt(QUEUE))
    assert scene.queue == [ids[0], ids[2], ids[4]]
    assert scene.steer == [ids[1], ids[3]]


def test_priority_goes_in_front_and_the_latest_goes_first() -> None:
    """A deployment may let a kind jump the queue."""
    policy = load_policy('version = 2\n[kind.peer_message]\nqueue_mode = "priority"')
    scene = Scene(policy=policy)
    ids = scene.accept_all(flow_step(), peer_message(), flow_step(), peer_message())
    assert scene.queue == [ids[3], ids[1], ids[0], ids[2]]


# --- 7. coalescing and superseding ---------------------------------------------------------------


def test_progress_coalesces_into_the_newer_one() -> None:
    """The older leaves its lane, names the newer, and its asker is told."""
    scene = Scene()
    old, new = peer_progress(supersession_key="s"), peer_progress(supersession_key="s")
    scene.accept(old, reply=REPLY)
    scene.accept(new)
    into = new.header.id
    assert scene.steer == [into]
    record = scene.record(old.header.id)
    assert (record.state, record.outcome) == (InputState.COALESCED, Coalesced(into))
    changes = scene.driver.take()
    assert completions(changes) == {old.header.id: CoalescedOutcome(into)}
    assert InputCoalesced(old.header.id, into) in announced(changes)


def test_a_deployment_may_let_external_events_supersede() -> None:
    """All that wait in the scope end, superseded by the newest."""
    policy = load_policy('version = 2\n[kind.external_event]\nqueue_mode = "supersede"')
    scene = Scene(policy=policy)
    old, new = external_event(supersession_key="s"), external_event(supersession_key="s")
    scene.accept(old, reply=REPLY)
    scene.accept(new)
    by = new.header.id
    assert scene.queue == [by]
    record = scene.record(old.header.id)
    assert (record.state, record.outcome) == (InputState.SUPERSEDED, Superseded(by))
    changes = scene.driver.take()
    assert completions(changes) == {old.header.id: SupersededOutcome(by)}
    assert InputSuperseded(old.header.id, by) in announced(changes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s", "t"),
        (None, None),
        ("s", None),
        (None, "s"),
    ],
)
def test_only_the_same_key_makes_a_scope(old: str | None, new: str | None) -> None:
    """Another key, or none, leaves the older one alone."""
    scene = Scene()
    ids = scene.accept_all(peer_progress(supersession_key=old), peer_progress(supersession_key=new))
    assert scene.steer == ids


def test_a_scope_is_of_one_kind() -> None:
    """The same key on another kind is another scope."""
    scene = Scene()
    ids = scene.accept_all(prompt(STEER, supersession_key="s"), peer_progress(supersession_key="s"))
    assert scene.steer == ids


def test_what_is_staged_is_beyond_superseding() -> None:
    """An input in a run is not touched; back in its lane it can be again."""
    scene = Scene()
    first = peer_progress(supersession_key="s")
    scene.accept(first)
    scene.start(forced=True)
    second = peer_progress(supersession_key="s")
    scene.accept(second)
    assert scene.states(first.header.id, second.header.id) == ["staged", "queued"]
    scene.fail()
    assert scene.steer == [first.header.id, second.header.id]
    third = peer_progress(supersession_key="s")
    scene.accept(third)
    assert scene.steer == [third.header.id]


def test_a_scope_forgets_what_has_left_its_lane() -> None:
    """An input that was cancelled is not ended a second time."""
    scene = Scene()
    first, second = peer_progress(supersession_key="s"), peer_progress(supersession_key="s")
    scene.accept(first)
    scene.tell(commands.CancelInput(new_id(), first.header.id))
    scene.accept(second)
    assert scene.record(first.header.id).outcome == Abandoned(AbandonReason.CANCELLED)


# --- 8. waking -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "wakes"),
    [
        (prompt, True),
        (lambda: prompt(STEER), True),
        (peer_message, True),
        (peer_progress, False),
        (operation, False),
    ],
)
def test_an_input_wakes_if_its_policy_says_so(make: Callable[[], Input], *, wakes: bool) -> None:
    """An idle runtime begins a run for what wakes it, and for nothing else."""
    scene = Scene()
    scene.accept(make())
    assert scene.driver.asked_to_wake is wakes
    assert scene.driver.wants_run(scene.now) is wakes


@pytest.mark.parametrize(
    ("make", "interrupts"),
    [
        (prompt, False),
        (lambda: prompt(STEER), True),
        (lambda: continuation(STEER), True),
        (peer_message, True),
        (peer_progress, False),
    ],
)
def test_an_input_interrupts_a_run_if_its_policy_says_so(
    make: Callable[[], Input], *, interrupts: bool
) -> None:
    """The executor of the current run is asked to yield."""
    scene = Scene()
    scene.accept(prompt())
    run_id = scene.started().run_id
    scene.driver.take()
    scene.accept(make())
    expected = [SignalExecutor(SignalKind.INTERRUPT, run_id)] if interrupts else []
    assert effects(scene.driver.take(), SignalExecutor) == expected
