"""What every runtime store promises: in memory, on SQLite, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.ids import RuntimeId
from schemas.lifecycle import AbandonReason, InputState, RunState, RuntimeState
from schemas.outcomes import Abandoned, Consumed, Superseded
from schemas.records import (
    Changes,
    CommandRecord,
    Known,
    ReplyTo,
    RetryPlan,
    SnapshotRecord,
    Timer,
    TimerKind,
)
from store.memory import MemoryStore
from store.ports import (
    Commit,
    CommitResult,
    Contents,
    DueTimer,
    Lookup,
    RuntimeStore,
    Wanted,
    WorkerPresence,
)
from tests.support.store import (
    ALPHA,
    BETA,
    DATABASES,
    NOW,
    SECOND,
    a_letter,
    a_message,
    a_part,
    a_receipt,
    a_run,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)

NOTHING = Known()
DONE, FENCED, FAILED = CommitResult.COMMITTED, CommitResult.FENCED, CommitResult.FAILED


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RuntimeStore]:
    """Each implementation in turn, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


# --- activation ----------------------------------------------------------------------------------


async def test_a_runtime_that_is_not_there_is_created_by_its_activation(
    store: RuntimeStore,
) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    assert stored.runtime.runtime_id == ALPHA
    assert (stored.runtime.epoch, stored.runtime.state) == (1, RuntimeState.IDLE)
    assert (stored.runtime.created_at, stored.inputs, stored.run) == (NOW, (), None)


async def test_each_activation_raises_the_epoch_by_one(store: RuntimeStore) -> None:
    assert [await taken(store) for _ in range(3)] == [1, 2, 3]


async def test_concurrent_activations_each_get_an_epoch_of_their_own(store: RuntimeStore) -> None:
    epochs = await asyncio.gather(*(taken(store) for _ in range(8)))
    assert sorted(epochs) == list(range(1, 9))


async def test_activation_answers_what_was_committed_to_the_last_field(store: RuntimeStore) -> None:
    epoch = await taken(store)
    record = an_input(
        4,
        state=InputState.STAGED,
        idempotency_key="order 66 \N{SNOWMAN}",
        supersession_key="s",
        attempt_count=2,
        recovery_count=1,
        reply=ReplyTo("answers", "c-1"),
        traceparent="00-ab-cd-01",
    )
    run = a_run(record, state=RunState.RUNNING, lease_until=NOW + SECOND, started_at=NOW)
    record = replace(record, last_run_id=run.run_id)
    before = (await store.activate(ALPHA, owner="worker-1", now=NOW)).runtime
    after = replace(
        before,
        state=RuntimeState.RUNNING,
        resting_state=RuntimeState.RETIRED,
        current_run_id=run.run_id,
        next_sequence=5,
        woken=True,
        silent_intents=("chat", "status"),
        retry=RetryPlan(2, NOW + SECOND, 8, 4),
        paused=True,
        updated_at=NOW + SECOND,
    )
    part = a_part(ALPHA, epoch + 1, record, runtime=after, runs=(run,))
    assert await store.commit([part]) == [DONE]
    stored = await store.read(ALPHA)
    assert stored is not None
    assert stored.runtime == after
    assert stored.inputs == (record,)
    assert stored.run == run


async def test_an_attached_runtime_is_stored_as_idle(store: RuntimeStore) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    attached = replace(
        stored.runtime, state=RuntimeState.ATTACHED, resting_state=RuntimeState.ATTACHED
    )
    assert await store.commit([Commit(ALPHA, 1, Changes(runtime=attached))]) == [DONE]
    again = await store.activate(ALPHA, owner="worker-1", now=NOW)
    assert again.runtime.state is RuntimeState.IDLE
    assert again.runtime.resting_state is RuntimeState.IDLE


async def test_activation_reads_active_inputs_in_admission_order_and_no_others(
    store: RuntimeStore,
) -> None:
    epoch = await taken(store)
    active = [an_input(sequence) for sequence in (7, 3, 5)]
    ended = [
        an_input(1, state=InputState.CONSUMED, outcome=Consumed()),
        an_input(2, state=InputState.ABANDONED, outcome=Abandoned(AbandonReason.RESET)),
    ]
    assert await store.commit([a_part(ALPHA, epoch, *active, *ended)]) == [DONE]
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    assert [record.sequence for record in stored.inputs] == [3, 5, 7]


async def test_activation_reads_more_active_inputs_than_one_chunk(store: RuntimeStore) -> None:
    epoch = await taken(store)
    records = [an_input(sequence) for sequence in range(4500)]
    assert await store.commit([a_part(ALPHA, epoch, *records)]) == [DONE]
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    assert stored.inputs == tuple(records)


async def test_activation_names_the_receipts_of_applied_inputs_only(store: RuntimeStore) -> None:
    epoch = await taken(store)
    applied = an_input(0, state=InputState.APPLIED_PENDING_CONSUMPTION, last_boundary_sequence=0)
    queued = an_input(1, last_boundary_sequence=0)
    run, other = a_run(applied), a_run(queued)
    applied = replace(applied, last_run_id=run.run_id)
    queued = replace(queued, last_run_id=other.run_id)
    part = a_part(
        ALPHA,
        epoch,
        applied,
        queued,
        receipts=(a_receipt(run), a_receipt(run, 1), a_receipt(other)),
    )
    assert await store.commit([part]) == [DONE]
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    assert stored.receipts == frozenset({(run.run_id, 0)})


async def test_reading_takes_nothing(store: RuntimeStore) -> None:
    assert await store.read(ALPHA) is None
    await taken(store)
    first = await store.read(ALPHA)
    assert first is not None
    assert first.runtime.epoch == 1
    assert await store.read(ALPHA) == first


# --- the one transaction -------------------------------------------------------------------------


async def test_a_part_of_an_old_epoch_writes_nothing_and_the_others_are_written(
    store: RuntimeStore,
) -> None:
    old = await taken(store)
    await taken(store)
    other = await taken(store, BETA)
    late, good = an_input(), an_input()
    parts = [
        replace(
            a_part(ALPHA, old, late),
            outbox=(a_message(),),
            dead_letters=(a_letter(),),
        ),
        a_part(BETA, other, good),
    ]
    assert await store.commit(parts) == [FENCED, DONE]
    assert await store.known([Lookup(ALPHA, (late.input_id,))]) == [NOTHING]
    assert await store.unpublished(before=NOW + SECOND, limit=9) == []
    assert await store.contents([Wanted(BETA, (good.input_id,))]) == [
        Contents({good.input_id: b'{"n":0}'})
    ]


async def test_a_part_of_an_epoch_yet_to_come_is_fenced(store: RuntimeStore) -> None:
    epoch = await taken(store)
    assert await store.commit([Commit(ALPHA, epoch + 1)]) == [FENCED]


async def test_a_part_of_a_runtime_that_is_not_there_is_fenced(store: RuntimeStore) -> None:
    assert await store.commit([a_part(ALPHA, 1, an_input())]) == [FENCED]


async def test_a_part_that_a_constraint_refuses_fails_alone(store: RuntimeStore) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(9)]
    epochs = {name: await taken(store, name) for name in names}
    known = an_input()
    assert await store.commit([a_part(names[5], 1, known)]) == [DONE]
    parts = [a_part(name, epochs[name], an_input(1)) for name in names]
    parts[5] = a_part(names[5], epochs[names[5]], an_input(1), known)
    expected = [FAILED if name == names[5] else DONE for name in names]
    assert await store.commit(parts) == expected
    stored = await store.read(names[5])
    assert stored is not None
    assert stored.inputs == (known,)


async def test_fenced_failed_and_committed_parts_are_told_apart(store: RuntimeStore) -> None:
    await taken(store)
    beta = await taken(store, BETA)
    gamma = RuntimeId("gamma")
    epoch = await taken(store, gamma)
    twice = an_input()
    parts = [
        a_part(ALPHA, 7, an_input()),
        a_part(BETA, beta, twice, replace(twice, sequence=1)),
        a_part(gamma, epoch, an_input()),
        Commit(None, 0, dead_letters=(a_letter(None),)),
    ]
    assert await store.commit(parts) == [FENCED, FAILED, DONE, DONE]


async def test_an_idempotency_key_is_taken_once_in_a_runtime(store: RuntimeStore) -> None:
    alpha, beta = await taken(store), await taken(store, BETA)
    first = a_part(ALPHA, alpha, an_input(idempotency_key="k"))
    elsewhere = a_part(BETA, beta, an_input(idempotency_key="k"))
    assert await store.commit([first, elsewhere]) == [DONE, DONE]
    again = a_part(ALPHA, alpha, an_input(idempotency_key="k"))
    assert await store.commit([again]) == [FAILED]


async def test_a_receipt_is_never_written_twice(store: RuntimeStore) -> None:
    epoch = await taken(store)
    receipt = a_receipt(a_run())
    part = Commit(ALPHA, epoch, Changes(receipts=(receipt,)))
    assert await store.commit([part]) == [DONE]
    assert await store.commit([part]) == [FAILED]


async def test_updates_change_what_changed_and_the_payload_only_where_one_is_given(
    store: RuntimeStore,
) -> None:
    epoch = await taken(store)
    one, two = an_input(0), an_input(1)
    await store.commit([a_part(ALPHA, epoch, one, two)])
    one = replace(one, state=InputState.STAGED, attempt_count=1, updated_at=NOW + SECOND)
    two = replace(two, payload_digest="f" * 64, sequence=9)
    changes = Changes(updated=(one, two))
    part = Commit(ALPHA, epoch, changes, payloads={two.input_id: b"edited"})
    assert await store.commit([part]) == [DONE]
    stored = await store.read(ALPHA)
    assert stored is not None
    assert stored.inputs == (one, two)
    wanted = Wanted(ALPHA, (one.input_id, two.input_id, new_id()))
    edited = {one.input_id: b'{"n":0}', two.input_id: b"edited"}
    assert await store.contents([wanted]) == [Contents(edited)]


async def test_an_input_that_ended_is_active_no_more_and_still_known(store: RuntimeStore) -> None:
    epoch = await taken(store)
    record = an_input()
    await store.commit([a_part(ALPHA, epoch, record)])
    outcome = Superseded(new_id())
    ended = replace(record, state=InputState.SUPERSEDED, outcome=outcome)
    assert await store.commit([Commit(ALPHA, epoch, Changes(updated=(ended,)))]) == [DONE]
    stored = await store.read(ALPHA)
    assert stored is not None
    assert stored.inputs == ()
    (known,) = await store.known([Lookup(ALPHA, (record.input_id,))])
    assert known.inputs[record.input_id].outcome == outcome


async def test_a_run_is_written_anew_at_each_change(store: RuntimeStore) -> None:
    epoch = await taken(store)
    run = a_run(an_input())
    await store.commit([Commit(ALPHA, epoch, Changes(runs=(run,)))])
    failed = replace(
        run, state=RunState.FAILED, error="out of\x00 memory", recoverable=True, ended_at=NOW
    )
    assert await store.commit([Commit(ALPHA, epoch, Changes(runs=(failed,)))]) == [DONE]
    (known,) = await store.known([Lookup(ALPHA, runs=(run.run_id,))])
    assert known.runs == {run.run_id: RunState.FAILED}


async def test_the_latest_snapshot_takes_the_place_of_the_one_before(store: RuntimeStore) -> None:
    epoch = await taken(store)
    latest = [Wanted(ALPHA, snapshot=True)]
    assert await store.contents(latest) == [Contents()]
    first = SnapshotRecord(new_id(), 0, b"\x00small", None, "a" * 64)
    second = SnapshotRecord(new_id(), 1, None, f"sha256:{'b' * 64}", None)
    for snapshot in (first, second):
        await store.commit([Commit(ALPHA, epoch, Changes(snapshot=snapshot))])
        assert await store.contents(latest) == [Contents({}, snapshot)]
    assert await store.commit([Commit(ALPHA, epoch)]) == [DONE]
    assert await store.contents(latest) == [Contents({}, second)]


async def test_contents_are_read_of_each_runtime_as_it_asked(store: RuntimeStore) -> None:
    """The same id is another input in another runtime; who asks for no snapshot gets none."""
    alpha, beta = await taken(store), await taken(store, BETA)
    one = an_input(0)
    two = an_input(7, input_id=one.input_id)
    snapshot = SnapshotRecord(new_id(), 0, b"of beta", None, None)
    part = a_part(BETA, beta, two)
    await store.commit([a_part(ALPHA, alpha, one)])
    await store.commit([replace(part, changes=replace(part.changes, snapshot=snapshot))])
    wanted = [
        Wanted(BETA, (two.input_id,)),
        Wanted(RuntimeId("gamma"), (one.input_id,), snapshot=True),
        Wanted(ALPHA, (one.input_id,), snapshot=True),
        Wanted(BETA, snapshot=True),
    ]
    assert await store.contents(wanted) == [
        Contents({two.input_id: b'{"n":7}'}),
        Contents(),
        Contents({one.input_id: b'{"n":0}'}),
        Contents({}, snapshot),
    ]
    assert await store.contents([]) == []


async def test_an_empty_commit_is_nothing(store: RuntimeStore) -> None:
    assert await store.commit([]) == []


# --- dedupe --------------------------------------------------------------------------------------


async def test_lookups_answer_each_runtime_with_its_own(store: RuntimeStore) -> None:
    alpha, beta = await taken(store), await taken(store, BETA)
    shared = new_id()
    one = an_input(input_id=shared, idempotency_key="k", payload_digest="1" * 64)
    two = an_input(input_id=shared, payload_digest="2" * 64)
    await store.commit([a_part(ALPHA, alpha, one), a_part(BETA, beta, two)])
    lookups = [
        Lookup(BETA, (shared,), ("k",)),
        Lookup(ALPHA, (new_id(), shared), ("k", "other")),
        Lookup(RuntimeId("gamma"), (shared,), ("k",)),
    ]
    of_beta, of_alpha, of_gamma = await store.known(lookups)
    assert of_beta.inputs[shared].payload_digest == "2" * 64
    assert of_beta.keys == {}
    assert list(of_alpha.inputs) == [shared]
    assert of_alpha.keys == {"k": of_alpha.inputs[shared]}
    assert of_gamma == NOTHING


async def test_a_thousand_ids_are_looked_up_at_once(store: RuntimeStore) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(100)]
    epochs = {name: await taken(store, name) for name in names}
    records = {name: [an_input(sequence) for sequence in range(10)] for name in names}
    await store.commit([a_part(name, epochs[name], *records[name]) for name in names])
    lookups = [Lookup(name, tuple(record.input_id for record in records[name])) for name in names]
    for name, known in zip(names, await store.known(lookups), strict=True):
        assert set(known.inputs) == {record.input_id for record in records[name]}


async def test_a_key_answers_with_the_input_that_has_it(store: RuntimeStore) -> None:
    epoch = await taken(store)
    record = an_input(idempotency_key="k", state=InputState.CONSUMED, outcome=Consumed())
    await store.commit([a_part(ALPHA, epoch, record)])
    (known,) = await store.known([Lookup(ALPHA, keys=("k",))])
    assert known.inputs == {}
    assert known.keys["k"].input_id == record.input_id
    assert known.keys["k"].outcome == Consumed()


async def test_a_command_is_known_by_its_report_and_carried_out_once(store: RuntimeStore) -> None:
    epoch = await taken(store)
    command = CommandRecord(new_id(), "retire", {"kind": "report", "counts": {"a": 1}}, NOW)
    part = Commit(ALPHA, epoch, Changes(commands=(command,)))
    assert await store.commit([part]) == [DONE]
    (known,) = await store.known([Lookup(ALPHA, commands=(command.command_id, new_id()))])
    assert known.commands == {command.command_id: command.outcome}
    assert await store.commit([part]) == [FAILED]


# --- registration --------------------------------------------------------------------------------


async def test_registration_answers_the_new_ones_once_and_keeps_the_known_ones(
    store: RuntimeStore,
) -> None:
    epoch = await taken(store)
    assert await store.register([BETA, ALPHA, BETA], now=NOW) == [BETA]
    assert await store.register([ALPHA, BETA], now=NOW) == []
    assert await store.register([], now=NOW) == []
    stored = await store.read(BETA)
    assert stored is not None
    assert (stored.runtime.epoch, stored.runtime.state) == (0, RuntimeState.IDLE)
    assert await store.commit([Commit(ALPHA, epoch)]) == [DONE]


async def test_destroyed_runtimes_are_not_named(store: RuntimeStore) -> None:
    stored = await store.activate(ALPHA, owner="worker-1", now=NOW)
    await store.register([BETA], now=NOW)
    assert await store.runtime_ids() == [ALPHA, BETA]
    destroyed = replace(stored.runtime, state=RuntimeState.DESTROYED)
    await store.commit([Commit(ALPHA, 1, Changes(runtime=destroyed))])
    assert await store.runtime_ids() == [BETA]


# --- outbox --------------------------------------------------------------------------------------


async def test_unpublished_rows_come_in_the_order_of_their_commits(store: RuntimeStore) -> None:
    epoch = await taken(store)
    # Ids and clocks of other workers say nothing of the order.
    messages = [a_message(created_at=NOW - SECOND * number) for number in range(6)]
    for first, second in zip(messages[::2], messages[1::2], strict=True):
        assert await store.commit([Commit(ALPHA, epoch, outbox=(second, first))]) == [DONE]
    found = await store.unpublished(before=NOW + SECOND, limit=99)
    expected = [messages[place] for place in (1, 0, 3, 2, 5, 4)]
    assert found == expected
    assert await store.unpublished(before=NOW + SECOND, limit=2) == expected[:2]
    assert await store.unpublished(before=NOW, limit=99) == expected[:1] + expected[2:]


async def test_published_rows_are_deleted_by_whoever_says_so(store: RuntimeStore) -> None:
    epoch = await taken(store)
    messages = tuple(a_message() for _ in range(3))
    await store.commit([Commit(ALPHA, epoch, outbox=messages)])
    gone = (messages[0].id, messages[2].id, new_id())
    assert await store.commit([Commit(None, 0, published=gone)]) == [DONE]
    assert await store.unpublished(before=NOW + SECOND, limit=9) == [messages[1]]


async def test_an_outbox_row_that_is_there_already_stays_one(store: RuntimeStore) -> None:
    message = a_message(None)
    part = Commit(None, 0, outbox=(message,))
    assert await store.commit([part]) == [DONE]
    assert await store.commit([part]) == [DONE]
    assert await store.unpublished(before=NOW + SECOND, limit=9) == [message]


# --- timers --------------------------------------------------------------------------------------


async def test_a_due_timer_fires_once_a_minute_until_it_is_cleared(store: RuntimeStore) -> None:
    epoch = await taken(store)
    timer = Timer(TimerKind.RUN_LEASE, NOW, new_id())
    set_it = Changes(timers={TimerKind.RUN_LEASE: timer})
    await store.commit([Commit(ALPHA, epoch, set_it)])
    assert await store.fire_timers(now=NOW - SECOND, limit=9) == []
    assert await store.fire_timers(now=NOW, limit=9) == [DueTimer(ALPHA, timer)]
    assert await store.fire_timers(now=NOW + 59 * SECOND, limit=9) == []
    assert await store.fire_timers(now=NOW + 60 * SECOND, limit=9) == [DueTimer(ALPHA, timer)]
    clear = Changes(timers={TimerKind.RUN_LEASE: None})
    await store.commit([Commit(ALPHA, epoch, clear)])
    assert await store.fire_timers(now=NOW + timedelta(hours=1), limit=9) == []


async def test_a_timer_that_is_set_again_fires_at_its_new_time(store: RuntimeStore) -> None:
    epoch = await taken(store)
    timer = Timer(TimerKind.RETRY, NOW)
    await store.commit([Commit(ALPHA, epoch, Changes(timers={TimerKind.RETRY: timer}))])
    await store.fire_timers(now=NOW, limit=9)
    later = Timer(TimerKind.RETRY, NOW + SECOND)
    await store.commit([Commit(ALPHA, epoch, Changes(timers={TimerKind.RETRY: later}))])
    assert await store.fire_timers(now=NOW + SECOND, limit=9) == [DueTimer(ALPHA, later)]


async def test_a_timer_is_claimed_by_one_of_many_workers(store: RuntimeStore) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(40)]
    for name in names:
        timer = Timer(TimerKind.RETRY, NOW)
        part = Commit(name, await taken(store, name), Changes(timers={TimerKind.RETRY: timer}))
        await store.commit([part])
    claims = await asyncio.gather(*(store.fire_timers(now=NOW, limit=15) for _ in range(6)))
    fired = [due.runtime_id for claim in claims for due in claim]
    assert len(fired) == len(set(fired))
    rest = await store.fire_timers(now=NOW, limit=99)
    assert sorted(fired + [due.runtime_id for due in rest]) == sorted(names)


# --- workers -------------------------------------------------------------------------------------


async def test_workers_are_listed_as_they_last_said(store: RuntimeStore) -> None:
    first = WorkerPresence("w-1", "host", NOW, NOW, ("meerkat.inbox.a",))
    second = WorkerPresence("w-2", "host", NOW, NOW)
    for presence in (second, first):
        await store.heartbeat(presence)
    later = replace(first, heartbeat_at=NOW + SECOND, queues=())
    await store.heartbeat(later)
    assert await store.workers() == [later, second]
    await store.forget_worker("w-2")
    await store.forget_worker("w-3")
    assert await store.workers() == [later]
