"""What the executor kit promises, on a real broker with the worker's side played by hand."""

import asyncio
import base64
import hashlib
from typing import Any, TypeAlias

import msgspec
import pytest
import structlog
from structlog.testing import LogCapture
from uuid_utils.compat import uuid7

from schemas.content import BlobRef
from schemas.runs import (
    Boundary,
    BoundaryApplied,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunHeartbeat,
    RunRequest,
    RunStarted,
    SignalKind,
)
from store.blobs import MemoryBlobStore
from tests.integration.sdk.conftest import Serving
from tests.support.counterpart import Counterpart
from tests.support.eventually import eventually
from worker.executor import Executor, ExecutorError, Fatal, Retryable, Run
from worker.sandbox.proxy import Proxy

pytestmark = pytest.mark.rabbitmq

ENDS = (RunCompleted, RunFailed, RunCancelled)
End: TypeAlias = RunCompleted | RunFailed | RunCancelled


async def ending(counterpart: Counterpart, request: RunRequest) -> End:
    """Wait for the event that ends a run."""

    def ends() -> list[End]:
        return [each for each in counterpart.events(request.run_id) if isinstance(each, ENDS)]

    (end,) = await eventually(ends, promise="the run ends")
    return end


async def begun(counterpart: Counterpart, request: RunRequest) -> None:
    """Wait until a run has begun."""
    await eventually(lambda: counterpart.events(request.run_id), promise="the run begins")


async def test_a_run_is_told_from_its_start_to_its_result(
    counterpart: Counterpart, serving: Serving
) -> None:
    """Started, boundary with receipt and snapshot, completed with what was consumed."""
    executor = Executor()

    @executor.run
    async def agent(run: Run) -> dict[str, Any]:
        await run.boundary(snapshot=b"state", messages=7)
        return {"said": [each.content for each in run.inputs], "attempt": run.attempt}

    serving.start(executor)
    request = await counterpart.request_run(["a", "b"])
    ids = request.primitive.contributing_input_ids
    end = await ending(counterpart, request)
    started, boundary, _ = counterpart.events(request.run_id)
    assert started == RunStarted(request.run_id)
    assert isinstance(boundary, BoundaryApplied)
    assert boundary.session_snapshot == base64.b64encode(b"state").decode()
    receipt = boundary.receipt
    assert (receipt.sequence, receipt.message_count) == (0, 7)
    assert receipt.boundary is Boundary.RUN_START
    assert receipt.contributing_input_ids == ids
    assert receipt.conversation_digest == hashlib.sha256(b"state").hexdigest()
    assert end == RunCompleted(request.run_id, ids, {"said": ["a", "b"], "attempt": 1})
    assert await counterpart.waiting_in(counterpart.topology.pool_queue("default")) == 0


async def test_a_function_without_a_boundary_applies_all_inputs_at_its_end(
    counterpart: Counterpart, serving: Serving
) -> None:
    """The simplest function there can be is a complete executor."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> None:
        return

    serving.start(executor)
    request = await counterpart.request_run(["a", "b"])
    assert await ending(counterpart, request) == RunCompleted(
        request.run_id, request.primitive.contributing_input_ids
    )
    (boundary,) = counterpart.events_of(request.run_id, BoundaryApplied)
    assert boundary.receipt.contributing_input_ids == request.primitive.contributing_input_ids
    assert boundary.session_snapshot is None


async def test_boundaries_count_from_zero_and_never_apply_an_input_twice(
    counterpart: Counterpart, serving: Serving
) -> None:
    """What no boundary named is applied at the end; a stranger is refused."""
    executor = Executor()
    refused: list[str] = []

    @executor.run
    async def agent(run: Run) -> None:
        first, *_ = run.input_ids
        await run.boundary(inputs=[first])
        for wrong in (first, uuid7()):
            try:
                await run.boundary(inputs=[wrong])
            except ValueError as error:
                refused.append(str(error))

    serving.start(executor)
    request = await counterpart.request_run(["a", "b", "c"])
    first, *rest = request.primitive.contributing_input_ids
    await ending(counterpart, request)
    receipts = [each.receipt for each in counterpart.events_of(request.run_id, BoundaryApplied)]
    assert [each.sequence for each in receipts] == [0, 1]
    assert [each.contributing_input_ids for each in receipts] == [(first,), tuple(rest)]
    assert len(refused) == 2
    assert str(first) in refused[0]


@pytest.mark.parametrize(
    ("failure", "error", "recoverable"),
    [
        (Retryable("rate limited"), "rate limited", True),
        (Fatal("no such model"), "no such model", False),
        (KeyError("x"), "KeyError: 'x'", True),
        (ValueError(), "ValueError", True),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration", True),
        (asyncio.CancelledError(), "it cancelled itself", True),
    ],
    ids=["retryable", "fatal", "other", "wordless", "of Python's own", "cancelled itself"],
)
async def test_an_exception_becomes_a_failed_run(
    counterpart: Counterpart,
    serving: Serving,
    failure: BaseException,
    error: str,
    *,
    recoverable: bool,
) -> None:
    """Its text and whether another try may help; no boundary is made up for it."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> None:
        raise failure

    serving.start(executor)
    request = await counterpart.request_run()
    end = await ending(counterpart, request)
    assert end == RunFailed(request.run_id, error, recoverable=recoverable)
    assert not counterpart.events_of(request.run_id, BoundaryApplied)


async def test_an_exception_is_logged_by_its_kind_and_place_but_not_its_words(
    counterpart: Counterpart, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words may quote what the run is about."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> None:
        raise KeyError("hunter2")

    logged = LogCapture()
    log = structlog.wrap_logger(None, [logged], structlog.stdlib.BoundLogger)
    monkeypatch.setattr("worker.execution.performance.log", log)
    serving.start(executor)
    await ending(counterpart, await counterpart.request_run())
    [line] = logged.entries
    assert (line["log_level"], line["error"], line["function"]) == ("warning", "KeyError", "agent")
    assert str(line["at"]).startswith(f"{__file__}:")
    assert "hunter2" not in repr(line)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (object(), "Encoding objects of type object is unsupported"),
        ("x" * 1024 * 1024, "at most 1048576 bytes"),
        ("\ud800", "surrogates not allowed"),
        (msgspec.json.decode(b"[" * 40 + b"]" * 40), "at most 32 levels"),
    ],
    ids=["not JSON", "too large", "not Unicode", "too deep"],
)
async def test_a_result_that_a_worker_would_refuse_is_a_failed_run_that_says_so(
    counterpart: Counterpart, serving: Serving, result: object, why: str
) -> None:
    """A dead letter would leave the run hanging until its lease passes."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> object:
        return result

    serving.start(executor)
    end = await ending(counterpart, await counterpart.request_run())
    assert isinstance(end, RunFailed)
    assert why in end.error
    assert not end.recoverable


async def test_a_long_run_keeps_its_lease_by_heartbeats(
    counterpart: Counterpart, serving: Serving
) -> None:
    """A run may last many times its lease."""
    executor = Executor()
    enough = asyncio.Event()

    @executor.run
    async def agent(_run: Run) -> None:
        await enough.wait()

    serving.start(executor)
    request = await counterpart.request_run(lease_seconds=0.6)
    await eventually(lambda: len(counterpart.events_of(request.run_id, RunHeartbeat)) >= 5)
    enough.set()
    assert isinstance(await ending(counterpart, request), RunCompleted)


async def test_a_cancelled_run_that_gives_up_by_itself_is_reported_cancelled(
    counterpart: Counterpart, serving: Serving
) -> None:
    """The function sees `run.cancelled`; no input is applied behind its back."""
    executor = Executor(cancel_grace=60)

    @executor.run
    async def agent(run: Run) -> None:
        await run.cancelled.wait()

    serving.start(executor)
    request = await counterpart.request_run()
    await begun(counterpart, request)
    await counterpart.signal(request, SignalKind.CANCEL_RUN)
    assert await ending(counterpart, request) == RunCancelled(request.run_id)
    assert not counterpart.events_of(request.run_id, BoundaryApplied)


async def test_a_cancelled_run_that_does_not_listen_is_cancelled_after_the_grace(
    counterpart: Counterpart, serving: Serving
) -> None:
    """No function can refuse by ignoring the event."""
    executor = Executor(cancel_grace=0.1)

    @executor.run
    async def agent(_run: Run) -> None:
        await asyncio.Event().wait()

    serving.start(executor)
    request = await counterpart.request_run()
    await begun(counterpart, request)
    await counterpart.signal(request, SignalKind.CANCEL_RUN)
    assert await ending(counterpart, request) == RunCancelled(request.run_id)


async def test_an_interrupt_asks_the_run_to_yield_and_no_more(
    counterpart: Counterpart, serving: Serving
) -> None:
    """The function decides what to do about it; the run ends as the function does."""
    executor = Executor()

    @executor.run
    async def agent(run: Run) -> str:
        await run.interrupted.wait()
        return "yielded"

    serving.start(executor)
    bystander = await counterpart.request_run()
    request = await counterpart.request_run()
    await begun(counterpart, bystander)
    await begun(counterpart, request)
    await counterpart.signal(request, SignalKind.INTERRUPT)
    end = await ending(counterpart, request)
    assert end == RunCompleted(request.run_id, request.primitive.contributing_input_ids, "yielded")
    assert not counterpart.events_of(bystander.run_id, RunCompleted)
    await counterpart.signal(bystander, SignalKind.INTERRUPT)
    await ending(counterpart, bystander)


async def test_a_large_snapshot_goes_to_the_blob_store_and_comes_back_from_it(
    counterpart: Counterpart, serving: Serving
) -> None:
    """Messages stay small; the next run reads what the last one left."""
    executor = Executor()
    blobs = MemoryBlobStore()
    seen: list[bytes | None] = []

    @executor.run
    async def agent(run: Run) -> None:
        before = await run.snapshot()
        seen.append(before)
        await run.boundary(snapshot=(before or b"") + b"x" * 100_000)

    serving.start(executor, blobs=blobs)
    first = await counterpart.request_run()
    await ending(counterpart, first)
    (applied,) = counterpart.events_of(first.run_id, BoundaryApplied)
    assert isinstance(applied.session_snapshot, BlobRef)
    second = await counterpart.request_run(snapshot=applied.session_snapshot)
    await ending(counterpart, second)
    assert seen == [None, b"x" * 100_000]


async def test_a_large_snapshot_without_a_blob_store_fails_with_the_remedy(
    counterpart: Counterpart, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable to set."""
    monkeypatch.delenv("MEERKAT_BLOBS", raising=False)
    executor = Executor()

    @executor.run
    async def agent(run: Run) -> None:
        await run.boundary(snapshot=b"x" * 100_000)

    serving.start(executor)
    end = await ending(counterpart, await counterpart.request_run())
    assert isinstance(end, RunFailed)
    assert "a snapshot of 100000 bytes needs a blob store: set MEERKAT_BLOBS" in end.error


async def test_a_busy_executor_leaves_requests_to_others(
    counterpart: Counterpart, serving: Serving
) -> None:
    """It holds no request that it cannot begin, and takes again when it is free."""
    done = asyncio.Event()
    taken: list[str] = []

    def one_at_a_time(name: str) -> Executor:
        executor = Executor(concurrency=1)

        @executor.run
        async def agent(_run: Run) -> None:
            taken.append(name)
            await done.wait()

        return executor

    serving.start(one_at_a_time("first"))
    requests = [await counterpart.request_run()]
    await begun(counterpart, requests[0])
    requests += [await counterpart.request_run() for _ in range(2)]
    assert await counterpart.waiting_in(counterpart.topology.pool_queue("default")) == 2
    serving.start(one_at_a_time("second"))
    await begun(counterpart, requests[1])
    assert taken == ["first", "second"]
    assert not counterpart.events(requests[2].run_id)
    done.set()
    for request in requests:
        await ending(counterpart, request)


async def test_runs_are_performed_side_by_side(counterpart: Counterpart, serving: Serving) -> None:
    """As many as the concurrency says, and not one more."""
    executor = Executor(concurrency=3)
    done = asyncio.Event()
    running: list[Run] = []

    @executor.run
    async def agent(run: Run) -> None:
        running.append(run)
        await done.wait()

    serving.start(executor)
    requests = [await counterpart.request_run() for _ in range(4)]
    await begun(counterpart, requests[2])
    assert await counterpart.waiting_in(counterpart.topology.pool_queue("default")) == 1
    assert len(running) == 3
    done.set()
    for request in requests:
        await ending(counterpart, request)


async def test_a_request_is_acked_only_when_its_start_is_confirmed(
    counterpart: Counterpart, serving: Serving, amqp_url: str
) -> None:
    """An executor that dies before it could say that it began leaves the request to others."""
    executor = Executor()
    performed: list[Run] = []

    @executor.run
    async def agent(run: Run) -> None:
        performed.append(run)

    async with Proxy.before(amqp_url) as proxy:
        served = serving.start(executor, url=proxy.address(amqp_url))
        await eventually(lambda: counterpart.is_attended("default"))
        await counterpart.channel.exchange_delete(counterpart.topology.inbox)
        request = await counterpart.request_run()
        pool = counterpart.topology.pool_queue("default")
        await eventually(lambda: counterpart.is_in_hand("default"))
        proxy.refuse()
        await eventually(lambda: counterpart.waiting_in(pool), promise="the request is back")
        assert not performed
        await counterpart.declare()
        await counterpart.listen("agent")
        await proxy.heal()
        assert isinstance(await ending(counterpart, request), RunCompleted)
        assert len(performed) == 1
        serving.stop()
        await served


async def test_a_request_that_comes_again_is_performed_once(
    counterpart: Counterpart, serving: Serving
) -> None:
    """A lost ack, or a worker that published twice, costs nothing."""
    executor = Executor()
    performed: list[Run] = []

    @executor.run
    async def agent(run: Run) -> None:
        performed.append(run)

    serving.start(executor)
    request = await counterpart.request_run()
    await ending(counterpart, request)
    await counterpart.send_request(msgspec.json.encode(request), str(request.run_id))
    await ending(counterpart, await counterpart.request_run())
    assert len(performed) == 2
    assert len(counterpart.events_of(request.run_id, RunStarted)) == 1


async def test_a_malformed_request_becomes_a_dead_letter_and_hurts_nobody(
    counterpart: Counterpart, serving: Serving
) -> None:
    """The next request is performed; the bytes are kept."""
    executor = Executor(concurrency=1)

    @executor.run
    async def agent(_run: Run) -> None:
        return

    serving.start(executor)
    await counterpart.send_request(b'{"run_id": 1}', str(uuid7()))
    await ending(counterpart, await counterpart.request_run())
    dead = counterpart.topology.dead
    await eventually(lambda: counterpart.waiting_in(dead), promise="the request is a dead letter")


async def test_the_trace_goes_on_from_the_request_to_the_events(
    counterpart: Counterpart, serving: Serving
) -> None:
    """Every run event carries the request's `traceparent`."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> None:
        return

    serving.start(executor)
    request = await counterpart.request_run()
    await ending(counterpart, request)
    traces = {envelope.headers["traceparent"] for envelope, _ in counterpart.heard}
    assert traces == {f"00-{request.run_id}"}


async def test_a_run_outlives_the_connection(
    counterpart: Counterpart, serving: Serving, amqp_url: str
) -> None:
    """Cut off in the middle, it reports when the broker can be reached again, each thing once."""
    executor = Executor()
    go_on = asyncio.Event()

    @executor.run
    async def agent(run: Run) -> str:
        await go_on.wait()
        await run.boundary(snapshot=b"late")
        return "late"

    async with Proxy.before(amqp_url) as proxy:
        served = serving.start(executor, url=proxy.address(amqp_url))
        request = await counterpart.request_run()
        await begun(counterpart, request)
        proxy.refuse()
        go_on.set()
        await eventually(lambda: proxy.connections == 0)
        await proxy.heal()
        assert isinstance(await ending(counterpart, request), RunCompleted)
        assert len(counterpart.events_of(request.run_id, BoundaryApplied)) == 1
        again = await counterpart.request_run()
        await begun(counterpart, again)
        serving.stop()
        await served


async def test_a_run_whose_lease_passes_is_given_up_in_silence(
    counterpart: Counterpart, serving: Serving, amqp_url: str
) -> None:
    """Somebody else has it by then: the function is stopped and nothing more is said."""
    executor = Executor()
    stopped = asyncio.Event()

    @executor.run
    async def agent(_run: Run) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with Proxy.before(amqp_url) as proxy:
        served = serving.start(executor, url=proxy.address(amqp_url))
        request = await counterpart.request_run(lease_seconds=1.0)
        await begun(counterpart, request)
        proxy.refuse()
        async with asyncio.timeout(10):
            await stopped.wait()
        await proxy.heal()
        after = await counterpart.request_run()
        await begun(counterpart, after)
        assert not [each for each in counterpart.events(request.run_id) if isinstance(each, ENDS)]
        serving.stop()
        await served


async def test_a_signal_reaches_a_run_that_began_before_the_connection_was_lost(
    counterpart: Counterpart, serving: Serving, amqp_url: str
) -> None:
    """On a new connection the executor listens for all runs that it still holds."""
    executor = Executor()

    @executor.run
    async def agent(run: Run) -> None:
        await run.cancelled.wait()

    async with Proxy.before(amqp_url) as proxy:
        served = serving.start(executor, url=proxy.address(amqp_url))
        request = await counterpart.request_run()
        await begun(counterpart, request)
        proxy.cut()

        async def cancelled() -> bool:
            await counterpart.signal(request, SignalKind.CANCEL_RUN)
            return bool(counterpart.events_of(request.run_id, RunCancelled))

        await eventually(cancelled)
        serving.stop()
        await served


async def test_told_to_stop_it_finishes_what_it_has_and_takes_no_more(
    counterpart: Counterpart, serving: Serving
) -> None:
    """A request that comes afterwards waits for somebody else."""
    executor = Executor()
    go_on = asyncio.Event()

    @executor.run
    async def agent(_run: Run) -> str:
        await go_on.wait()
        return "done"

    served = serving.start(executor, drain_seconds=30)
    request = await counterpart.request_run()
    await begun(counterpart, request)
    pool = counterpart.topology.pool_queue("default")
    serving.stop()
    await eventually(lambda: counterpart.is_unattended(pool))
    later = await counterpart.request_run()
    go_on.set()
    assert isinstance(await ending(counterpart, request), RunCompleted)
    await served
    assert not counterpart.events(later.run_id)
    assert await counterpart.waiting_in(counterpart.topology.pool_queue("default")) == 1


async def test_what_is_not_finished_in_time_is_handed_back(
    counterpart: Counterpart, serving: Serving
) -> None:
    """The run fails, recoverably and at once, instead of waiting for its lease to pass."""
    executor = Executor()

    @executor.run
    async def agent(_run: Run) -> None:
        await asyncio.Event().wait()

    served = serving.start(executor, drain_seconds=0.1)
    request = await counterpart.request_run()
    await begun(counterpart, request)
    serving.stop()
    await served
    end = await ending(counterpart, request)
    assert end == RunFailed(request.run_id, "the executor is shutting down", recoverable=True)


def test_only_an_async_function_and_only_one_can_be_an_executors() -> None:
    """A mistake is said where it is made."""
    executor = Executor()
    with pytest.raises(TypeError, match="expected an async function"):
        executor.run(lambda _run: None)  # type: ignore[type-var]

    @executor.run
    async def agent(_run: Run) -> None:
        return

    with pytest.raises(ExecutorError, match="one function"):
        executor.run(agent)
    with pytest.raises(ValueError, match="concurrency: expected 1 or more, got 0"):
        Executor(concurrency=0)


async def test_an_executor_without_a_function_does_not_serve() -> None:
    """It would take runs and lose them."""
    with pytest.raises(ExecutorError, match=r"decorate one with @executor\.run"):
        await Executor().serve("amqp://127.0.0.1:1/")
