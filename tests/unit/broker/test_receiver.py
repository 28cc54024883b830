"""The receiver: in whatever pieces bytes come, messages and frames are what the client reads."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from schemas.envelope import Envelope, decode
from schemas.errors import MalformedError
from worker.broker import receiver as module
from worker.broker.receiver import Receiver, properties

Taken = list[tuple[Envelope, int, bool]]

TAKEN, LEFT = 3, 7
"""A channel whose deliveries are taken, and one whose deliveries are the client's."""

HELLO = marshal(Heartbeat(), 0)
PART = 20


def delivered(
    channel: int, tag: int, body: bytes, *, redelivered: bool = False, **about: object
) -> list[bytes]:
    """The frames of a delivery, as a broker sends them."""
    deliver = Basic.Deliver(f"consumer-{channel}", tag, redelivered, "meerkat.inbox", f"key-{tag}")
    header = ContentHeader(0, len(body), Basic.Properties(**about))  # type: ignore[arg-type]
    parts = [ContentBody(body[at : at + PART]) for at in range(0, len(body), PART)]
    frames: list[FrameTypes] = [deliver, header, *parts]
    return [marshal(frame, channel) for frame in frames]


class Wire:
    """A receiver on a stream that is fed by hand, past its first frame."""

    def __init__(self) -> None:
        self.stream = asyncio.StreamReader()
        self.receiver = Receiver(self.stream)
        self.taken: Taken = []
        self.take(TAKEN)

    def take(self, channel: int) -> None:
        self.receiver.take(channel, f"consumer-{channel}", lambda *one: self.taken.append(one))

    async def frames(self) -> list[Any]:
        """What the client gets, until the stream ends."""
        got = []
        try:
            while True:
                got.append((await self.receiver.get_frame())[1:])
        except AMQPConnectionError:
            return got


async def received(data: bytes, size: int = 1 << 20) -> tuple[Taken, list[Any]]:
    """What takers and the client get of bytes that come in pieces of a size."""
    wire = Wire()
    reading = asyncio.create_task(wire.frames())
    wire.stream.feed_data(HELLO)
    for at in range(0, len(data), size):
        wire.stream.feed_data(data[at : at + size])
        await asyncio.sleep(0)
    wire.stream.feed_eof()
    _hello, *frames = await reading
    return wire.taken, frames


text = st.text(max_size=20).filter(lambda value: len(value.encode()) < 200)
headers = st.dictionaries(
    text, st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | text, max_size=4
)
about = st.fixed_dictionaries(
    {},
    optional={
        "content_type": text,
        "content_encoding": text,
        "headers": headers,
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": text,
        "reply_to": text,
        "expiration": text,
        "message_id": text,
        "timestamp": st.integers(10**6, 4 * 10**9).map(lambda at: datetime.fromtimestamp(at, UTC)),
        "message_type": text,
        "user_id": text,
        "app_id": text,
    },
)


@given(about)
def test_properties_are_those_that_the_client_reads(given_properties: dict[str, Any]) -> None:
    """Whichever are there: those that nobody needs must be stepped over."""
    raw = Basic.Properties(**given_properties).marshal()
    read = Basic.Properties()
    flags = int.from_bytes(raw[:2], "big")
    read.unmarshal(flags, raw[2:])
    expected = {
        "content_type": read.content_type,
        "headers": read.headers,
        "correlation_id": read.correlation_id,
        "reply_to": read.reply_to,
        "message_id": read.message_id,
        "type": read.message_type,
    }
    found = properties(raw, 0)
    assert found == {name: value for name, value in expected.items() if value is not None}


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=70)), max_size=6), st.integers(1, 90))
def test_messages_come_whole_and_in_order_whatever_the_pieces(
    messages: list[tuple[bool, bytes]], size: int
) -> None:
    """Deliveries of another channel reach the client frame by frame, untouched."""
    frames: list[bytes] = []
    for tag, (is_taken, body) in enumerate(messages, 1):
        frames += delivered(TAKEN if is_taken else LEFT, tag, body, message_id=f"m{tag}")
    taken, left = asyncio.run(received(b"".join(frames), size))
    expected = [(f"m{tag}", body) for tag, (is_taken, body) in enumerate(messages, 1) if is_taken]
    assert [(one.message_id, one.body) for one, _, _ in taken] == expected
    assert [marshal(frame, channel) for channel, frame in left] == [
        frame for frame in frames if frame[2] == LEFT
    ]


async def test_a_message_says_where_it_came_from_and_that_it_came_before() -> None:
    frames = delivered(TAKEN, 9, b"body", redelivered=True, message_type="input", headers={"a": 1})
    [(envelope, tag, redelivered)], left = await received(b"".join(frames))
    assert envelope == Envelope("key-9", b"body", type="input", headers={"a": 1})
    assert (tag, redelivered, left) == (9, True, [])


async def test_messages_of_channels_may_be_interleaved() -> None:
    """The broker keeps the frames of a message together on its channel, not on the connection."""
    wire = Wire()
    wire.take(LEFT)
    one, two = delivered(TAKEN, 1, b"a" * 50), delivered(LEFT, 1, b"b" * 50)
    wire.stream.feed_data(
        HELLO + b"".join(frame for pair in zip(one, two, strict=True) for frame in pair)
    )
    wire.stream.feed_eof()
    await wire.frames()
    assert [envelope.body for envelope, _, _ in wire.taken] == [b"a" * 50, b"b" * 50]


async def test_what_comes_after_a_consumer_is_forgotten_is_the_clients() -> None:
    wire = Wire()
    wire.receiver.forget(TAKEN, f"consumer-{TAKEN}")
    frames = delivered(TAKEN, 1, b"body")
    wire.stream.feed_data(HELLO + b"".join(frames))
    wire.stream.feed_eof()
    assert len(await wire.frames()) == 1 + len(frames)
    assert wire.taken == []


ID = "01930000-0000-7000-8000-000000000001"
PROMPT = (
    b'{"input_type":"prompt","header":{"id":"%s","source":{"type":"operator"},'
    b'"durability":"durable"},"text":"hello"}' % ID.encode()
)


@pytest.mark.parametrize(
    "name", ["message_id", "reply_to", "correlation_id", "content_type", "message_type"]
)
async def test_a_property_that_cannot_be_read_spoils_its_message_only(name: str) -> None:
    """The client's reader dies of it, and the message comes again, and it dies again."""
    sound: dict[str, Any] = {"message_id": ID, "message_type": "input", "headers": {"schema": 1}}
    spoiled = b"".join(delivered(TAKEN, 1, PROMPT, **{**sound, name: "@@@@"}))
    good = b"".join(delivered(TAKEN, 2, PROMPT, **sound))
    taken, left = await received(spoiled.replace(b"@@@@", b"\xff\xfe@@") + good)
    assert [envelope.body for envelope, _, _ in taken] == [PROMPT, PROMPT]
    assert left == []
    decode(taken[1][0], received_at=datetime.now(UTC))
    with pytest.raises(MalformedError):
        decode(taken[0][0], received_at=datetime.now(UTC))


def test_headers_that_nest_too_deep_make_a_message_malformed() -> None:
    table = bytes(4)
    for _ in range(1_000):
        entry = b"\x01aF" + table
        table = len(entry).to_bytes(4, "big") + entry
    only_headers = (1 << 13).to_bytes(2, "big")
    assert properties(only_headers + table, 0) == {"headers": {"schema": None}}


async def test_headers_of_an_unknown_kind_make_a_message_malformed() -> None:
    frames = b"".join(delivered(TAKEN, 1, b"{}", headers={"trace": "@@@@"}))
    [(envelope, _, _)], _ = await received(frames.replace(b"traceS", b"trace\x00"))
    assert envelope.headers == {"schema": None}


async def test_a_frame_without_its_end_breaks_the_connection() -> None:
    frames = b"".join(delivered(TAKEN, 1, b"body"))
    with pytest.raises(InvalidFrameError):
        await received(frames[:-1] + b"\x00")


async def test_the_client_sees_signs_of_life_while_all_frames_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy broker sends no heartbeats; the client would take the connection for dead."""
    monkeypatch.setattr(module, "ALIVE_SECONDS", 0.0)
    taken, frames = await received(b"".join(delivered(TAKEN, 1, b"body")))
    assert len(taken) == 1
    assert frames
    assert all(isinstance(frame, Heartbeat) and channel == 0 for channel, frame in frames)
