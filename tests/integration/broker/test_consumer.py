"""The consumer: order, settlement, and every way in which it ends."""

import asyncio

import pytest
from aiormq.abc import ChannelFrame

from schemas.ids import RuntimeId
from tests.integration.broker.rig import RUNTIME, Hands, Rig
from tests.support.eventually import eventually
from worker.broker.acks import ack_frame
from worker.broker.announcements import framed
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import QueueMissingError
from worker.broker.inspect import queue_facts
from worker.broker.publisher import Outgoing
from worker.broker.tally import Ended, Tally

pytestmark = pytest.mark.rabbitmq


def names(first: int, after: int) -> list[str]:
    return [f"m{number}" for number in range(first, after)]


async def test_delivery_carries_what_was_published(rig: Rig) -> None:
    """Body, properties, headers and routing key arrive as they were sent."""
    properties = {
        "message_id": "m1",
        "type": "input",
        "reply_to": "answers",
        "correlation_id": "c1",
        "headers": {"traceparent": "00-1"},
    }
    await rig.publisher.publish(Outgoing(rig.topology.inbox, RUNTIME, b"body", properties))
    hands = Hands()
    consumer = await rig.consume(hands)
    [delivery] = (await hands.holding(1)).taken
    delivery.ack()
    await consumer.release(deadline=5)

    envelope = delivery.envelope
    assert (envelope.routing_key, envelope.body) == (RUNTIME, b"body")
    assert (envelope.message_id, envelope.type) == ("m1", "input")
    assert (envelope.reply_to, envelope.correlation_id) == ("answers", "c1")
    assert (envelope.content_type, envelope.headers) == (
        "application/json",
        {"schema": 1, "traceparent": "00-1"},
    )
    assert (delivery.queue, delivery.redelivered, delivery.delivery_count) == (rig.queue, False, 0)


async def test_given_back_comes_again_in_its_old_place(rig: Rig) -> None:
    """After a give-back in mid-batch, all that was not acked comes again in the old order."""
    await rig.publish(names(0, 30))
    hands = Hands()
    consumer = await rig.consume(hands, prefetch=10)
    await hands.holding(10)
    for position, delivery in enumerate(hands.taken):
        if position in {4, 6, 7}:
            delivery.give_back()
        else:
            delivery.ack()
    assert await asyncio.wait_for(consumer.ended, 10) is Ended.RETURNED

    again = Hands()
    second = await rig.consume(again)
    await again.holding(23)
    assert again.ids == ["m4", "m6", "m7", *names(10, 30)]
    assert again.taken[0].redelivered
    assert again.taken[0].delivery_count == 1
    assert "x-delivery-count" not in again.taken[0].envelope.headers
    again.ack_all()
    await second.release(deadline=5)


async def test_next_consumer_waits_until_all_in_hand_is_settled(rig: Rig) -> None:
    """Released with messages in hand, a consumer lets the next one begin only behind them."""
    await rig.publish(names(0, 20))
    first, second = Hands(), Hands()
    leaving = await rig.consume(first, prefetch=10)
    await first.holding(10)
    coming = await rig.consume(second)
    release = asyncio.create_task(leaving.release(deadline=10))
    for delivery in first.taken:
        assert not release.done()
        assert second.taken == []
        await asyncio.sleep(0.01)  # what must not happen is given the time to happen
        delivery.ack()
    await release
    await second.holding(10)
    assert second.ids == names(10, 20)
    second.ack_all()
    await coming.release(deadline=5)


async def test_release_gives_up_on_what_is_not_settled_in_time(rig: Rig) -> None:
    """After its deadline a release lets go: unsettled messages come again, settled ones do not."""
    await rig.publish(names(0, 3))
    hands = Hands()
    consumer = await rig.consume(hands)
    await hands.holding(3)
    hands.taken[0].ack()
    await consumer.release(deadline=0.2)
    assert consumer.ended.result() is Ended.RELEASED
    again = Hands()
    second = await rig.consume(again)
    await again.holding(2)
    assert again.ids == ["m1", "m2"]
    again.ack_all()
    await second.release(deadline=5)


async def test_contiguous_acks_travel_as_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is settled in one turn up to the first gap costs one frame, beyond it one each."""
    await rig.publish(names(0, 8))
    hands = Hands()
    consumer = await rig.consume(hands)
    await hands.holding(8)
    sent: list[tuple[int, bool]] = []
    really = ack_frame

    def noting(channel: int, tag: int, *, multiple: bool) -> bytes:
        sent.append((tag, multiple))
        return really(channel, tag, multiple=multiple)

    monkeypatch.setattr("worker.broker.consumer.ack_frame", noting)
    for position in (0, 2, 1, 4, 5):
        hands.taken[position].ack()
    await eventually(lambda: len(sent) == 3)
    assert sent == [(3, True), (5, False), (6, False)]
    hands.taken[3].ack()
    hands.taken[6].ack()
    await eventually(lambda: len(sent) == 4)
    assert sent[3] == (7, True)
    hands.taken[7].ack()
    await consumer.release(deadline=5)
    assert sent[4:] == [(8, True)]
    assert consumer.tally.lost_acks == 0

    again = Hands()
    second = await rig.consume(again)
    await rig.publish(["last"])
    await again.holding(1)
    assert again.ids == ["last"]
    again.ack_all()
    await second.release(deadline=5)


async def test_ack_on_a_dead_channel_is_counted_not_raised(rig: Rig) -> None:
    """An ack that comes too late is counted; its message comes again."""
    await rig.publish(names(0, 3))
    hands, tally = Hands(), Tally()
    consumer = await rig.consume(hands, tally=tally)
    await hands.holding(3)
    await consumer._channel.close()
    assert await asyncio.wait_for(consumer.ended, 10) is Ended.LOST
    hands.ack_all()
    assert tally.lost_acks == 3

    again = Hands()
    second = await rig.consume(again, tally=tally)
    await again.holding(3)
    assert again.ids == names(0, 3)
    again.ack_all()
    await second.release(deadline=5)
    assert tally.taken == 6


async def test_no_ack_leaves_behind_the_end_of_its_channel(rig: Rig) -> None:
    """The broker ends a connection, with all its consumers, over a frame on a closed channel."""
    await rig.publish(names(0, 2))
    hands, tally = Hands(), Tally()
    consumer = await rig.consume(hands, tally=tally)
    await hands.holding(2)
    connection, channel = await rig.connection(), consumer._channel
    wrong = ack_frame(channel.number, 99, multiple=False)
    await channel.write_queue.put(ChannelFrame(wrong, should_close=False))
    async with asyncio.timeout(10):
        while channel.number in channel.connection.channels:  # noqa: ASYNC110 - to be there at once
            await asyncio.sleep(0)
    hands.ack_all()
    assert await asyncio.wait_for(consumer.ended, 10) is Ended.LOST
    assert tally.lost_acks == 2

    again = Hands()
    second = await rig.consume(again)
    await again.holding(2)
    assert await rig.connection() is connection
    again.ack_all()
    await second.release(deadline=5)


async def test_connection_that_dies_ends_its_consumers(rig: Rig) -> None:
    """Acks that were under way when the connection died are counted as lost, once each."""
    await rig.publish(names(0, 3))
    hands, tally = Hands(), Tally()
    consumer = await rig.consume(hands, tally=tally)
    await hands.holding(3)
    hands.taken[0].ack()
    closing = asyncio.create_task((await rig.connection()).close())
    hands.taken[1].give_back()
    hands.taken[2].ack()
    assert await asyncio.wait_for(consumer.ended, 10) in {Ended.LOST, Ended.RETURNED}
    await closing
    assert tally.lost_acks <= 2


async def test_queue_deleted_under_its_consumer_is_noticed(rig: Rig) -> None:
    """A deleted queue ends its consumer at once, and consuming it again says it is missing."""
    consumer = await rig.consume(Hands())
    await rig.delete(rig.queue)
    assert await asyncio.wait_for(consumer.ended, 10) is Ended.CANCELLED
    with pytest.raises(QueueMissingError, match=rig.queue):
        await rig.consume(Hands())
    assert (await rig.connection()).is_open


async def test_delivery_is_settled_once(rig: Rig) -> None:
    """Settling a delivery a second time is a fault of the caller's, and says so."""
    await rig.publish(["m0"])
    hands = Hands()
    consumer = await rig.consume(hands)
    [delivery] = (await hands.holding(1)).taken
    delivery.ack()
    with pytest.raises(RuntimeError, match="settled twice"):
        delivery.give_back()
    await consumer.release(deadline=5)


async def test_delivery_that_nobody_could_take_goes_back(rig: Rig) -> None:
    """A callback that fails leaves nothing in no one's hands: the message goes back."""
    await rig.publish(["m0"])

    def fail(delivery: Delivery) -> None:
        raise LookupError(delivery.queue)

    consumer = await Consumer.open(await rig.connection(), rig.queue, fail, prefetch=10)
    assert await asyncio.wait_for(consumer.ended, 10) is Ended.RETURNED
    again = Hands()
    second = await rig.consume(again)
    await again.holding(1)
    again.ack_all()
    await second.release(deadline=5)


async def test_oldest_open_delivery_is_known(rig: Rig) -> None:
    """The consumer knows how many deliveries are in hand and since when the oldest is."""
    await rig.publish(names(0, 2))
    hands = Hands()
    consumer = await rig.consume(hands)
    await hands.holding(2)
    assert consumer.open_deliveries == 2
    hands.taken[0].ack()
    oldest = consumer.oldest_open
    assert oldest == hands.taken[1].received
    hands.taken[1].ack()
    assert consumer.open_deliveries == 0
    assert consumer.oldest_open is None
    await consumer.release(deadline=5)


async def test_a_property_that_is_no_utf8_harms_its_message_only(rig: Rig) -> None:
    """Any program can publish one; the connection lives, and what comes behind it comes."""
    connection = await rig.connection()
    channel = await connection.channel()
    good = Outgoing(rig.topology.inbox, RUNTIME, b"{}", {"message_id": "@@@@", "type": "input"})
    raw = framed(channel.number, good, most=1000).replace(b"@@@@", b"\xff\xfe\xfd\xfc")
    await channel.write_queue.put(ChannelFrame(raw, should_close=False))
    await rig.publish(["behind"])

    hands = Hands()
    consumer = await rig.consume(hands)
    await hands.holding(2)
    assert hands.ids == ["\ufffd" * 4, "behind"]
    hands.ack_all()
    await consumer.release(deadline=5)
    assert consumer.ended.result() is Ended.RELEASED
    assert connection.is_open


async def test_acks_of_many_queues_travel_in_one_write(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed together is acked together, whatever the queues."""
    names_of = [RuntimeId(f"agent-{number}") for number in range(2, 6)]
    await rig.declare(*names_of)
    connection = await rig.connection()
    taken: list[Delivery] = []
    consumers = [
        await Consumer.open(connection, rig.topology.queue_of(one), taken.append, prefetch=5)
        for one in names_of
    ]
    for one in names_of:
        await rig.publisher.publish(Outgoing(rig.topology.inbox, one, b"{}", {"message_id": one}))
    await eventually(lambda: len(taken) == len(names_of))
    writes: list[bytes] = []
    really = connection.acks._queue.put_nowait

    def noting(frame: ChannelFrame) -> None:
        writes.append(frame.payload)
        really(frame)

    monkeypatch.setattr(connection.acks._queue, "put_nowait", noting)
    for delivery in taken:
        delivery.ack()
    await connection.acks.sent()
    monkeypatch.undo()
    assert sum(write.count(b"\x00\x3c\x00\x50") for write in writes) == len(taken)
    assert len([write for write in writes if b"\x00\x3c\x00\x50" in write]) == 1
    for consumer in consumers:
        await consumer.release(deadline=5)
        facts = await queue_facts(connection, consumer.queue)
        assert facts is not None
        assert facts.ready == 0
