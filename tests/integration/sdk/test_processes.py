"""The examples of the documentation, and executors as processes, on a real broker."""

import asyncio
import base64
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from schemas.commands import CommandReport
from schemas.outcomes import CompletedOutcome, Completion
from schemas.runs import BoundaryApplied, RunCompleted, RunRequest
from tests.support.commands import ROOT, start
from tests.support.counterpart import Counterpart
from tests.support.eventually import eventually

pytestmark = pytest.mark.rabbitmq


@asynccontextmanager
async def example(name: str, url: str, namespace: str) -> AsyncIterator[Process]:
    """Run a file of docs/examples."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", f"docs/examples/{name}.py"),
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MEERKAT_AMQP_URL": url,
            "MEERKAT_NAMESPACE": namespace,
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def executing(name: str, counterpart: Counterpart, url: str) -> AsyncIterator[Process]:
    """Run an executor process that takes from the default pool."""
    process = await start(
        "executor", name, MEERKAT_AMQP_URL=url, MEERKAT_NAMESPACE=counterpart.topology.namespace
    )
    try:
        await eventually(lambda: counterpart.is_attended("default"), deadline=30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def completed(counterpart: Counterpart, request: RunRequest) -> RunCompleted:
    """Wait for a run's completion."""
    (end,) = await eventually(lambda: counterpart.events_of(request.run_id, RunCompleted))
    assert isinstance(end, RunCompleted)
    return end


async def test_the_example_publish_publishes_one_input(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """It runs as it stands, and nothing but the program itself writes to its output."""
    await counterpart.listen("assistant-1")
    async with example("publish", amqp_url, namespace) as process:
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    await eventually(lambda: len(counterpart.inputs) == 2)
    assert {f"published {each.input.header.id}\n" for each in counterpart.inputs} == {out.decode()}


async def test_the_example_request_prints_outcome_and_report(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """It waits for both answers."""
    await counterpart.listen("assistant-2")
    async with example("request", amqp_url, namespace) as process:
        (asked,) = await eventually(lambda: counterpart.inputs, deadline=30)
        outcome = CompletedOutcome("said")
        await counterpart.reply(counterpart.heard[0][0], Completion(asked.input.header.id, outcome))
        (told,) = await eventually(lambda: counterpart.commands)
        report = CommandReport(told.command.command_id, {"kind": "report"})
        await counterpart.reply(counterpart.heard[1][0], report)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode() == f"outcome {outcome}\nreport {report.outcome}\n"


async def test_the_example_executor_counts_from_run_to_run(
    amqp_url: str, counterpart: Counterpart
) -> None:
    """Its snapshot is its memory, and SIGTERM ends it in good order."""
    async with executing("docs.examples.executor:executor", counterpart, amqp_url) as process:
        first = await counterpart.request_run(["a", "b"])
        assert (await completed(counterpart, first)).result == "2 messages so far"
        (applied,) = counterpart.events_of(first.run_id, BoundaryApplied)
        assert isinstance(applied, BoundaryApplied)
        second = await counterpart.request_run(["c"], snapshot=applied.session_snapshot)
        assert (await completed(counterpart, second)).result == "3 messages so far"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0


async def test_the_echo_says_what_it_is_told_and_remembers_the_conversation(
    amqp_url: str, counterpart: Counterpart
) -> None:
    """The demonstration's agent answers with its inputs and keeps them in its snapshot."""
    async with executing("worker.echo:executor", counterpart, amqp_url):
        before = base64.b64encode(b'["x"]').decode()
        request = await counterpart.request_run(["a", "b"], snapshot=before)
        assert (await completed(counterpart, request)).result == ["a", "b"]
    (applied,) = counterpart.events_of(request.run_id, BoundaryApplied)
    assert isinstance(applied, BoundaryApplied)
    assert isinstance(applied.session_snapshot, str)
    assert base64.b64decode(applied.session_snapshot) == b'["x","a","b"]'
    assert applied.receipt.message_count == 3
