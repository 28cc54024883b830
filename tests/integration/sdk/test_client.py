"""What the client promises, on a real broker with the worker's side played by hand."""

import asyncio

import aio_pika
import pytest
from uuid_utils.compat import uuid7

from schemas import inputs
from schemas.commands import CommandReport
from schemas.content import Image
from schemas.envelope import InputMessage, Message
from schemas.inputs import Header, OperationCompleted, OperatorSource, kind_of
from schemas.outcomes import CompletedOutcome, Completion
from tests.support.counterpart import Counterpart
from tests.support.eventually import eventually
from worker.client import (
    BrokerUnavailableError,
    CancelInput,
    Client,
    Continuation,
    Draft,
    ExternalEvent,
    FlowStep,
    MalformedError,
    NoReplyError,
    Operation,
    PeerMessage,
    PeerProgress,
    PeerRequest,
    PeerResponse,
    Prompt,
    PublishFailedError,
    PublishManyError,
    Retire,
    UnroutableError,
)
from worker.sandbox import RabbitMQ
from worker.sandbox.proxy import Proxy

pytestmark = pytest.mark.rabbitmq

DRAFTS = [
    Prompt("hi", key="k", steer=True),
    Prompt("look", blocks=[Image("image/png", "inline", data="AAAA")]),
    FlowStep("s1", "do it", flow="nightly", index=0),
    PeerMessage("hello", peer="reviewer"),
    PeerRequest("please", peer="reviewer", request_id="r", intent="review"),
    PeerProgress("half way", peer="reviewer", request_id="r"),
    PeerResponse("done", peer="reviewer", request_id="r"),
    ExternalEvent("deploy.finished", {"version": 3}, source_name="ci"),
    Continuation("go on", steer=True),
    Operation("op", OperationCompleted("op", {"ok": True})),
]


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: type(draft).__name__)
async def test_every_draft_arrives_as_the_input_it_describes(
    amqp_url: str, namespace: str, counterpart: Counterpart, draft: Draft
) -> None:
    """What a worker decodes is what the draft says, under the draft's id."""
    async with Client(amqp_url, namespace=namespace) as client:
        assert await client.publish("agent", draft) == draft.id
    heard = await eventually(lambda: counterpart.inputs)
    assert [each.input for each in heard] == [draft.to_input()]
    assert kind_of(heard[0].input) is kind_of(draft.to_input())


async def test_an_input_made_by_hand_is_published_as_it_is(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """Drafts are a convenience, not the only way."""
    item = inputs.Prompt(Header(uuid7(), OperatorSource()), "by hand")
    async with Client(amqp_url, namespace=namespace) as client:
        await client.publish("agent", item)
    heard = await eventually(lambda: counterpart.inputs)
    assert heard[0].input.header.id == item.header.id


async def test_publishing_a_draft_again_is_the_same_input(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """A retry has the same id and the same bytes, also when both are under way at once."""
    draft = Prompt("once")
    async with Client(amqp_url, namespace=namespace) as client:
        await asyncio.gather(client.publish("agent", draft), client.publish("agent", draft))
    await eventually(lambda: len(counterpart.heard) == 2)
    first, second = (envelope for envelope, _ in counterpart.heard)
    assert (first.message_id, first.body) == (second.message_id, second.body)


async def test_a_runtime_is_introduced_once_and_before_its_first_message(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """The inbox of a new runtime exists, and the workers are told of it a single time."""
    async with Client(amqp_url, namespace=namespace) as client:
        await asyncio.gather(*(client.publish("fresh", Prompt(f"{n}")) for n in range(5)))
    topology = counterpart.topology
    assert await counterpart.waiting_in(topology.registrations) == 1
    assert await counterpart.waiting_in(f"{topology.inbox}.fresh") == 5
    assert await counterpart.waiting_in(topology.unrouted) == 0


async def test_a_sharded_layout_is_published_to_the_runtimes_shard(
    amqp_url: str, namespace: str
) -> None:
    """The layout decides the queue; the routing key stays the runtime's id."""
    async with Counterpart(amqp_url, namespace, "sharded:3") as counterpart:
        async with Client(amqp_url, namespace=namespace, layout="sharded:3") as client:
            await client.publish("agent", Prompt("hi"))
        await counterpart.listen("agent")
        await eventually(lambda: counterpart.inputs)
        assert [each.runtime_id for each in counterpart.inputs] == ["agent"]


async def test_what_a_worker_would_refuse_is_refused_here_and_names_the_field(
    amqp_url: str, namespace: str
) -> None:
    """A malformed input costs its author an exception, not an operator a dead letter."""
    async with Client(amqp_url, namespace=namespace, max_message_bytes=2000) as client:
        with pytest.raises(MalformedError, match=r"\$\.header\.idempotency_key: "):
            await client.publish("agent", Prompt("hi", key=""))
        with pytest.raises(MalformedError, match="at most 2000 bytes"):
            await client.publish("agent", Prompt("x" * 2000))
        with pytest.raises(MalformedError, match="expected what JSON can hold"):
            await client.publish("agent", ExternalEvent("e", object()))
        with pytest.raises(ValueError, match="expected a runtime id"):
            await client.publish("no spaces", Prompt("hi"))


async def test_many_inputs_arrive_in_the_order_given(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """Pipelining does not reorder a runtime's inputs, and the ids come back in order."""
    drafts = [Prompt(f"{number}") for number in range(500)]
    async with Client(amqp_url, namespace=namespace) as client:
        ids = await client.publish_many(("agent", draft) for draft in drafts)
    assert ids == [draft.id for draft in drafts]
    await eventually(lambda: len(counterpart.inputs) == 500)
    assert [each.input.header.id for each in counterpart.inputs] == ids


async def test_of_many_inputs_none_is_sent_if_one_is_malformed(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """All are checked before the first goes out."""
    async with Client(amqp_url, namespace=namespace) as client:
        with pytest.raises(MalformedError):
            await client.publish_many([("new", Prompt("fine")), ("new", Prompt("x", key=""))])
    assert await counterpart.waiting_in(counterpart.topology.registrations) == 0


async def test_of_many_inputs_those_not_confirmed_are_named(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """One input that reaches no queue is reported; the others are safe."""
    async with Client(amqp_url, namespace=namespace) as client:
        await client.publish_many([("lost", Prompt("1")), ("agent", Prompt("2"))])
        await counterpart.channel.queue_delete(f"{counterpart.topology.inbox}.lost")
        await counterpart.channel.queue_delete(counterpart.topology.unrouted)
        lost, kept = Prompt("3"), Prompt("4")
        with pytest.raises(PublishManyError, match="1 of 2 inputs") as caught:
            await client.publish_many([("lost", lost), ("agent", kept)])
    assert [each.input_id for each in caught.value.failures] == [lost.id]
    assert isinstance(caught.value.failures[0].error, UnroutableError)
    await eventually(lambda: kept.id in [each.input.header.id for each in counterpart.inputs])


async def test_an_unroutable_message_raises_and_the_runtime_is_introduced_anew(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """No message vanishes; the next try declares what was missing."""
    inbox = f"{counterpart.topology.inbox}.gone"
    async with Client(amqp_url, namespace=namespace) as client:
        await client.publish("gone", Prompt("1"))
        await counterpart.channel.queue_delete(inbox)
        await counterpart.channel.queue_delete(counterpart.topology.unrouted)
        with pytest.raises(UnroutableError):
            await client.publish("gone", Prompt("2"))
        await client.publish("gone", Prompt("3"))
    assert await counterpart.waiting_in(inbox) == 1


async def test_a_request_returns_how_its_own_input_ended(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """Two requests at once each get their own outcome, whatever the order of the answers."""
    async with Client(amqp_url, namespace=namespace) as client:
        asked = [asyncio.create_task(client.request("agent", Prompt(word))) for word in "ab"]
        await eventually(lambda: len(counterpart.inputs) == 2)
        for envelope, message in reversed(counterpart.heard):
            await counterpart.reply(envelope, _completion(message))
        outcomes = await asyncio.gather(*asked)
    assert outcomes == [CompletedOutcome("A"), CompletedOutcome("B")]


async def test_a_command_returns_its_report(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """`client.command(runtime_id, Retire())` is all it takes."""
    command = Retire()
    report = CommandReport(command.command_id, {"kind": "report", "counts": {"abandoned": 0}})
    async with Client(amqp_url, namespace=namespace) as client:
        asked = asyncio.create_task(client.command("agent", command))
        await eventually(lambda: counterpart.commands)
        assert counterpart.commands[0].command.command_id == command.command_id
        await counterpart.reply(counterpart.heard[0][0], report)
        assert await asked == report


async def test_a_request_without_a_reply_says_that_the_input_is_on_its_way(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """A timeout is about the waiting: the input itself was published."""
    async with Client(amqp_url, namespace=namespace) as client:
        with pytest.raises(NoReplyError, match=r"was published; no reply within 0\.5 s"):
            await client.request("agent", Prompt("hi"), timeout=0.5)
    await eventually(lambda: counterpart.inputs)


async def test_a_reply_that_is_sent_while_the_client_is_away_is_not_lost(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """The reply queue outlives the connection."""
    async with (
        Proxy.before(amqp_url) as proxy,
        Client(proxy.address(amqp_url), namespace=namespace) as client,
    ):
        asked = asyncio.create_task(client.request("agent", Prompt("hi"), timeout=30))
        await eventually(lambda: counterpart.inputs)
        proxy.refuse()
        envelope, message = counterpart.heard[0]
        await eventually(lambda: counterpart.is_unattended(envelope.reply_to or ""))
        await counterpart.reply(envelope, _completion(message))
        await proxy.heal()
        assert await asked == CompletedOutcome("HI")


async def test_the_reply_queue_goes_with_the_client(
    amqp_url: str, namespace: str, counterpart: Counterpart
) -> None:
    """A client that leaves in good order leaves nothing behind."""
    async with Client(amqp_url, namespace=namespace) as client:
        with pytest.raises(NoReplyError):
            await client.command("agent", CancelInput(uuid7()), timeout=0.5)
    envelope = (await eventually(lambda: counterpart.heard))[0][0]
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await counterpart.waiting_in(envelope.reply_to or "")


async def test_a_broker_that_is_away_is_an_error_in_time_without_the_password(
    namespace: str,
) -> None:
    """The deadline holds, and the sentence says where and why but not with which password."""
    async with Client("amqp://user:hunter2@127.0.0.1:1/", namespace=namespace) as client:
        with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1") as caught:
            await client.publish("agent", Prompt("hi"), timeout=0.5)
        with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1"):
            await client.request("agent", Prompt("hi"), timeout=0.5)
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
async def test_after_a_restart_of_the_broker_the_same_client_goes_on(
    private_rabbitmq: RabbitMQ, namespace: str
) -> None:
    """Killed and started again, the broker has what was confirmed and takes what follows."""
    async with Client(private_rabbitmq.url, namespace=namespace) as client:
        await client.publish("agent", Prompt("before"))
        await asyncio.sleep(1.5)  # a quorum queue younger than a second dies with its broker
        await asyncio.to_thread(private_rabbitmq.kill)
        # Which of the two depends on whether the client has already seen the connection die.
        with pytest.raises((BrokerUnavailableError, PublishFailedError)):
            await client.publish("agent", Prompt("away"), timeout=0.5)
        await asyncio.to_thread(private_rabbitmq.restart)
        await client.publish("agent", Prompt("after"))
    async with Counterpart(private_rabbitmq.url, namespace) as counterpart:
        await counterpart.listen("agent")
        await eventually(lambda: len(counterpart.inputs) == 2)
    texts = [
        each.input.text for each in counterpart.inputs if isinstance(each.input, inputs.Prompt)
    ]
    assert texts == ["before", "after"]


def test_a_namespace_or_layout_without_its_shape_is_refused_at_once() -> None:
    """A mistake in an argument is said when it is made."""
    with pytest.raises(ValueError, match="layout: expected"):
        Client("amqp://localhost/", layout="random")
    with pytest.raises(ValueError, match="namespace: expected"):
        Client("amqp://localhost/", namespace="")


def _completion(message: Message) -> Completion:
    """Complete a prompt with its text in capitals."""
    assert isinstance(message, InputMessage)
    assert isinstance(message.input, inputs.Prompt)
    return Completion(message.input.header.id, CompletedOutcome(message.input.text.upper()))
