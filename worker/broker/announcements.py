"""Announcements: messages that may be lost, many in one write.

The client sends a message at a time, each through a lock, a timeout and a system call. A worker
that is busy makes two announcements an input, and would spend more on them than on all the rest.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from types import TracebackType
from typing import Final, Self

from aiormq import Channel
from aiormq.abc import ChannelFrame
from pamqp.commands import Basic

from schemas.envelope import SCHEMA_VERSION
from worker.broker.errors import BrokerError, translated
from worker.broker.link import Link
from worker.broker.publisher import Lane, Publication

WAITING: Final = 10_000
AT_ONCE: Final = 200


class Announcements:
    """Publishes unconfirmed, in order, some time soon.

    Use: ``async with Announcements(link, dropped=count) as announcements: announcements.announce``.

    Args:
        link: Where to.
        dropped: Told how many did not go out: too many were waiting, or the connection was lost.
        most: How many may wait.
    """

    def __init__(
        self, link: Link, *, dropped: Callable[[int], object], most: int = WAITING
    ) -> None:
        self._lane = Lane(link, confirms=False)
        self._dropped = dropped
        self._most = most
        self._waiting: deque[Publication] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_always(), name="announcements")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._dropped(len(self._waiting))
        await self._lane.close()

    def announce(self, message: Publication) -> None:
        """Publish a message that has the properties ``message_id`` and ``type``, and no others."""
        if len(self._waiting) >= self._most:
            self._dropped(1)
            return
        self._waiting.append(message)
        self._arrived.set()

    async def _send_always(self) -> None:
        while True:
            await self._arrived.wait()
            batch = list(islice(self._waiting, AT_ONCE))
            try:
                await self._send(batch)
            except BrokerError:
                self._dropped(len(batch))
            for _ in batch:
                self._waiting.popleft()
            if not self._waiting:
                self._arrived.clear()

    async def _send(self, batch: Sequence[Publication]) -> None:
        channel = await self._lane.channel()
        payload = b"".join(
            framed(channel.number, message, most=channel.max_content_size) for message in batch
        )
        with translated(f"{len(batch)} announcements not sent"):
            await _write(channel, payload)


async def _write(channel: Channel, payload: bytes) -> None:
    """Hand bytes to the connection, and wait until it has let go of them."""
    # The channel's future: it fails when the channel dies.
    drained = channel.create_future()
    frame = ChannelFrame(payload, should_close=False, drain_future=drained)
    putting = asyncio.create_task(channel.write_queue.put(frame))
    try:
        await drained
    finally:
        putting.cancel()


# --- the bytes of AMQP 0-9-1 ---------------------------------------------------------------------

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC: Final = 60
_PUBLISH: Final = struct.pack(">HHH", _BASIC, 40, 0)
_NEITHER_MANDATORY_NOR_IMMEDIATE: Final = b"\x00"
_lead: Final = struct.Struct(">BHI").pack
_size: Final = struct.Struct(">HHQ").pack

# What all of them have in common. The last two properties, id and type, are texts: here of one
# letter each, which takes two bytes, to be cut off.
_COMMON: Final = Basic.Properties(
    content_type="application/json",
    headers={"schema": SCHEMA_VERSION},
    delivery_mode=2,
    message_id="-",
    message_type="-",
).marshal()[:-4]


def framed(channel: int, message: Publication, *, most: int) -> bytes:
    """Write a message as frames: method, header, and body in parts of at most ``most`` bytes."""
    body, properties = message.body, message.properties
    about = _text(properties["message_id"]) + _text(properties["type"])
    header = _frame(_HEADER, channel, _size(_BASIC, 0, len(body)) + _COMMON + about)
    parts = [_frame(_BODY, channel, body[at : at + most]) for at in range(0, len(body), most)]
    return b"".join((_method(channel, message.exchange, message.routing_key), header, *parts))


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    """Write the frame that says where to: the same one for all that a runtime does alike."""
    to = _text(exchange) + _text(routing_key)
    return _frame(_METHOD, channel, _PUBLISH + to + _NEITHER_MANDATORY_NOR_IMMEDIATE)


def _frame(kind: int, channel: int, load: bytes) -> bytes:
    return _lead(kind, channel, len(load)) + load + _END


def _text(value: str) -> bytes:
    encoded = value.encode()
    return bytes((len(encoded),)) + encoded
