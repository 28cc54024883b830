"""Commands that speak to a broker, against a real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractIncomingMessage

from schemas.commands import CommandReport
from schemas.ids import RuntimeId
from schemas.outcomes import CompletedOutcome, Completion, CompletionOutcome, RejectedOutcome
from tests.support.commands import Ended, finish, meerkat, start
from worker.broker.connection import Connection
from worker.broker.topology import Topology
from worker.cli.invocation import invoke
from worker.terminal import inert

_RUNTIME = "agent-7"
_PNG = bytes.fromhex("89504e470d0a1a0a")


class Broker:
    """The broker as a worker sees it: what arrives in one inbox."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, topology: Topology) -> None:
        self.channel = channel
        self.topology = topology
        self.arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def listen(self) -> None:
        """Consume the inbox."""
        inbox = await self.channel.get_queue(self.topology.queue_of(RuntimeId(_RUNTIME)))
        await inbox.consume(self.arrived.put, no_ack=True)

    async def received(self) -> AbstractIncomingMessage:
        """The next message of the inbox."""
        async with asyncio.timeout(20):
            return await self.arrived.get()

    async def reply(self, to: AbstractIncomingMessage, kind: str, body: msgspec.Struct) -> None:
        """Answer a message as a worker would."""
        message = aio_pika.Message(
            msgspec.json.encode(body), correlation_id=to.correlation_id, type=kind
        )
        await self.channel.default_exchange.publish(message, routing_key=str(to.reply_to))


@pytest.fixture
async def broker(amqp_url: str, namespace: str) -> AsyncIterator[Broker]:
    topology = Topology(namespace)
    connection = await Connection.open(amqp_url, "test")
    channel = await connection.channel()
    await topology.declare_shared(channel)
    await topology.declare_inbox(channel, RuntimeId(_RUNTIME))
    await connection.close()
    async with await aio_pika.connect(amqp_url) as client:
        broker = Broker(await client.channel(), topology)
        await broker.listen()
        yield broker


@pytest.fixture
def variables(amqp_url: str, namespace: str) -> dict[str, str]:
    return {"MEERKAT_AMQP_URL": amqp_url, "MEERKAT_NAMESPACE": namespace}


@pytest.fixture
def in_process(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_as_found: None,  # noqa: ARG001  # commands set logging up
) -> Callable[..., Awaitable[Ended]]:
    """Run a command here, on a thread: a process each would cost a second."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Ended:
        code = await asyncio.to_thread(invoke, arguments)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prompt", _RUNTIME, "hi", "--steer"], {"input_type": "prompt", "text": "hi"}),
        (["message", _RUNTIME, "yo", "--peer", "p"], {"input_type": "peer", "body": "yo"}),
        (
            ["request", _RUNTIME, "do", "--peer", "p", "--request-id", "9", "--intent", "x"],
            {"input_type": "peer", "body": "do"},
        ),
        (
            ["progress", _RUNTIME, "half", "--peer", "p", "--request-id", "9"],
            {"input_type": "peer", "body": "half"},
        ),
        (
            ["response", _RUNTIME, "done", "--peer", "p", "--request-id", "9"],
            {"input_type": "peer", "body": "done"},
        ),
        (
            ["flow-step", _RUNTIME, "s1", "write", "--flow", "f", "--index", "0"],
            {"input_type": "flow_step", "step_id": "s1", "instructions": "write"},
        ),
        (
            ["event", _RUNTIME, "push", "--payload", '{"body": "3"}'],
            {"input_type": "external_event", "payload": {"body": "3"}},
        ),
        (["continuation", _RUNTIME, "go"], {"input_type": "continuation", "reason": "go"}),
        (
            ["operation", _RUNTIME, "op", "failed", "--detail", "no"],
            {"input_type": "operation", "operation_id": "op"},
        ),
    ],
)
async def test_every_kind_is_published_with_its_header(
    broker: Broker,
    in_process: Callable[..., Awaitable[Ended]],
    arguments: list[str],
    expected: dict[str, object],
) -> None:
    """What arrives has the id that was printed, the key that was given, and the words."""
    ended = await in_process("publish", *arguments, "--key", "k1", "--json")
    assert (ended.code, ended.err) == (0, "")
    message = await broker.received()
    body = json.loads(message.body)
    assert ended.lines == [{"runtime_id": _RUNTIME, "input_id": message.message_id}]
    assert body["header"]["id"] == message.message_id
    assert body["header"]["idempotency_key"] == "k1"
    assert expected.items() <= body.items()


async def test_an_image_goes_along_inline(
    broker: Broker, variables: dict[str, str], tmp_path: Path
) -> None:
    """A file becomes a block of its media type; a file that is no image is refused by its name."""
    picture, note = tmp_path / "dot.png", tmp_path / "note.txt"
    picture.write_bytes(_PNG)
    note.write_bytes(b"x")
    arguments = ["publish", "prompt", _RUNTIME, "see", "--image"]
    assert (await meerkat(*arguments, str(picture), **variables)).code == 0
    block = json.loads((await broker.received()).body)["blocks"][0]
    assert (block["media_type"], block["source"]) == ("image/png", "inline")
    refused = await meerkat(*arguments, str(note), **variables)
    assert refused.code == 2
    assert "note.txt: expected a name such as photo.png" in refused.err


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(CompletedOutcome("\x1b[2Jfine"), 0), (RejectedOutcome("derived is for systems"), 1)],
)
async def test_waiting_shows_how_an_input_ended(
    broker: Broker, variables: dict[str, str], outcome: CompletionOutcome, code: int
) -> None:
    """The outcome is shown inert; one that nobody wants is exit code 1."""
    process = await start("publish", "prompt", _RUNTIME, "hi", "--wait", "30", **variables)
    message = await broker.received()
    await broker.reply(message, "completion", Completion(UUID(message.message_id), outcome))
    ended = await finish(process)
    assert ended.code == code, ended.err
    assert inert(msgspec.json.encode(outcome).decode()) in ended.out
    assert "\x1b" not in ended.out


async def test_no_answer_in_time_is_an_exit_code_of_its_own(
    broker: Broker, variables: dict[str, str]
) -> None:
    """Nobody drives the runtime: the message is on the broker, and the command says so."""
    ended = await meerkat("publish", "prompt", _RUNTIME, "hi", "--wait", "0.5", **variables)
    assert ended.code == 4
    assert "no reply within 0.5 s" in ended.err
    assert (await broker.received()).message_id is not None


async def test_lines_are_published_in_order_and_bad_ones_are_named(
    broker: Broker, variables: dict[str, str]
) -> None:
    """One bad line costs nothing but itself."""
    given = """
        {"input": {"input_type": "prompt", "text": "one"}}
        not json
        {"input": {"input_type": "prompt", "text": 2}}
        {"input": {"input_type": "prompt", "header": {"id": 7}, "text": "x"}}
        {"runtime_id": "no spaces", "input": {"input_type": "prompt", "text": "x"}}
        ["a list"]
        {"input": {"input_type": "prompt", "text": "two"}}
    """
    ended = await meerkat("publish", "lines", "-", "--runtime", _RUNTIME, said=given, **variables)
    assert ended.code == 1
    named = [said.split(":")[0] for said in ended.err.splitlines()]
    assert named == ["line 3", "line 4", "line 5", "line 6", "line 7", "meerkat-worker"]
    assert "line 4: $.input.text: expected str" in ended.err
    assert "2 published, 5 not" in ended.err
    texts = [json.loads((await broker.received()).body)["text"] for _ in range(2)]
    assert texts == ["one", "two"]


async def test_lines_for_programs_answer_line_by_line(
    broker: Broker, variables: dict[str, str], tmp_path: Path
) -> None:
    """With --json each line of the file has its answer, good or bad."""
    file = tmp_path / "inputs.jsonl"
    good = {"runtime_id": _RUNTIME, "input": {"input_type": "prompt", "text": "one"}}
    file.write_text(json.dumps(good) + "\n{}\n")
    ended = await meerkat("publish", "lines", str(file), "--json", **variables)
    message = await broker.received()
    by_line = {answer["line"]: answer for answer in ended.lines}
    assert by_line[1] == {"line": 1, "runtime_id": _RUNTIME, "input_id": message.message_id}
    assert "input" in str(by_line[2]["error"])


async def _commanded(
    broker: Broker, variables: dict[str, str], command: str, outcome: dict[str, Any]
) -> Ended:
    process = await start("command", command, _RUNTIME, **variables)
    message = await broker.received()
    await broker.reply(message, "command", CommandReport(UUID(message.message_id), outcome))
    return await finish(process)


async def test_a_command_shows_its_report(broker: Broker, variables: dict[str, str]) -> None:
    """What the runtime did is shown in words."""
    report = {"kind": "report", "command": "retire", "counts": {"abandoned": 2}, "details": ["x"]}
    ended = await _commanded(broker, variables, "retire", outcome=report)
    assert ended.code == 0
    assert ended.out == "retire: abandoned 2\n  x\n"


async def test_a_refused_command_is_exit_code_1(broker: Broker, variables: dict[str, str]) -> None:
    """A refusal names its reason."""
    refusal = {"kind": "refused", "reason": "runtime is destroyed", "unknown_run": False}
    ended = await _commanded(broker, variables, "resume", outcome=refusal)
    assert ended.code == 1
    assert "agent-7 refuses: runtime is destroyed" in ended.err


async def test_giving_up_work_is_asked_about(broker: Broker, variables: dict[str, str]) -> None:
    """Without --yes a person says no in time: nothing is published."""
    ended = await meerkat("command", "destroy", _RUNTIME, said="n\n", **variables)
    assert ended.code == 1
    assert "destroy it for good?" in ended.err
    assert broker.arrived.empty()


async def test_events_are_shown_as_they_happen(broker: Broker, variables: dict[str, str]) -> None:
    """One runtime's events are shown, another's are not; what is no event is passed over."""
    process = await start(
        "events", "tail", "--runtime", _RUNTIME, "--limit", "1", "--json", **variables
    )
    exchange = await broker.channel.get_exchange(broker.topology.events)
    event = {
        "id": str(uuid4()),
        "timestamp": "2026-01-01T00:00:00Z",
        "runtime_id": _RUNTIME,
        "event": {"category": "run_lifecycle", "data": {"code": "started", "run_id": str(uuid4())}},
    }
    good = aio_pika.Message(json.dumps(event).encode())
    ended = asyncio.create_task(finish(process))
    while not ended.done():
        for body, key in [(aio_pika.Message(b"?"), _RUNTIME), (good, "other"), (good, _RUNTIME)]:
            await exchange.publish(body, f"run.started.{key}", mandatory=False)
        await asyncio.wait({ended}, timeout=0.1)
    assert (await ended).lines == [event]


async def test_a_missing_broker_is_one_sentence() -> None:
    """No trace, no waiting: where it was looked for, and exit code 2."""
    ended = await meerkat(
        "publish", "prompt", _RUNTIME, "hi", "--amqp-url", "amqp://u:hunter2@127.0.0.1:1/"
    )
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "127.0.0.1:1" in ended.err
    assert "hunter2" not in ended.err
