"""Receiver: reads a connection's frames, and puts together by itself what is delivered.

The client hands three frames a message from task to task, and makes objects of all that they say:
a third of what a message costs a busy worker. And a property that is no UTF-8 ends its connection,
again and again; here such a message is taken, and is malformed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from time import monotonic
from typing import Any, Final

import aiormq.connection
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp import decode
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal
from pamqp.heartbeat import Heartbeat

from schemas.envelope import Envelope

Frame = tuple[int, int, Any]
Taker = Callable[[Envelope, int, bool], None]
"""Called with a message, its delivery tag, and whether it was delivered before. Must not raise."""

READ: Final = 65_536
ALIVE_SECONDS: Final = 1.0


class Receiver(FrameReceiver):
    """The client's receiver, but that deliveries go to their takers, in order and at once."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._takers: dict[tuple[int, bytes], Taker] = {}
        self._contents: dict[int, _Content] = {}
        self._data = b""
        self._at = 0
        self._shown = monotonic()
        self._unshown = False

    def take(self, channel: int, tag: str, taker: Taker) -> None:
        """Hand over what is delivered on a channel to the consumer with a tag."""
        self._takers[channel, tag.encode()] = taker

    def forget(self, channel: int, tag: str) -> None:
        """Hand over no more."""
        self._takers.pop((channel, tag.encode()), None)

    async def get_frame(self) -> Frame:
        """Read the next frame that is not part of a delivery to a taker."""
        if not self.started:
            first: Frame = await super().get_frame()
            return first
        while True:
            frame = self._next_frame() or self._sign_of_life()
            if frame is not None:
                self._shown, self._unshown = monotonic(), False
                return frame
            self._data += await self._more()

    def _sign_of_life(self) -> Frame | None:
        """Tell the client now and then that frames come: of those for takers it knows nothing."""
        if self._unshown and monotonic() - self._shown >= ALIVE_SECONDS:
            return 0, 0, Heartbeat()
        return None

    async def _more(self) -> bytes:
        try:
            data: bytes = await self.reader.read(READ)
        except OSError as error:
            raise AMQPConnectionError(f"Server communication error: {error!r}") from error
        if not data:
            raise AMQPConnectionError("Server connection unexpectedly closed")
        return data

    def _next_frame(self) -> Frame | None:
        """Go through what has been read; None when it takes more to complete a frame."""
        data, at = self._data, self._at
        while len(data) >= at + _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(data, at)
            begin = at + _HEAD.size
            end = begin + size
            if end >= len(data):
                break
            if data[end] != _FRAME_END:
                raise InvalidFrameError("a frame without an end")
            if not self._delivered(kind, channel, data, begin, end):
                self._at = end + 1
                return _unmarshalled(data[at : end + 1])
            self._unshown = True
            at = end + 1
        self._data, self._at = data[at:], 0
        return None

    def _delivered(self, kind: int, channel: int, data: bytes, at: int, end: int) -> bool:
        """Take a frame that is part of a delivery to a taker; False if it is not."""
        if kind == _METHOD:
            return data.startswith(_DELIVER, at) and self._begins(channel, data, at + 4)
        content = self._contents.get(channel)
        if content is None:
            return False
        if kind == _HEADER:
            content.left = int.from_bytes(data[at + 4 : at + 12], "big")
            content.properties = properties(data, at + 12)
        else:
            content.body.append(data[at:end])
            content.left -= end - at
        if content.left <= 0:
            del self._contents[channel]
            content.hand_over()
        return True

    def _begins(self, channel: int, data: bytes, at: int) -> bool:
        tag, at = _short(data, at)
        taker = self._takers.get((channel, tag))
        if taker is None:
            return False
        number, redelivered = _TAG.unpack_from(data, at)
        _exchange, at = _short(data, at + _TAG.size)
        routing_key, _ = _short(data, at)
        self._contents[channel] = _Content(taker, number, redelivered & 1 == 1, routing_key)
        return True


class _Content:
    """A delivery of which some frames are still to come."""

    __slots__ = ("body", "left", "properties", "redelivered", "routing_key", "tag", "taker")

    def __init__(self, taker: Taker, tag: int, redelivered: bool, routing_key: bytes) -> None:  # noqa: FBT001
        self.taker = taker
        self.tag = tag
        self.redelivered = redelivered
        self.routing_key = routing_key
        self.properties: dict[str, Any] = {}
        self.left = 0
        self.body: list[bytes] = []

    def hand_over(self) -> None:
        envelope = Envelope(_text(self.routing_key), b"".join(self.body), **self.properties)
        self.taker(envelope, self.tag, self.redelivered)


# --- how a connection gets one -------------------------------------------------------------------

_made: ContextVar[list[Receiver] | None] = ContextVar("made", default=None)


@contextmanager
def receivers() -> Iterator[list[Receiver]]:
    """Have the connections that are opened in this context use receivers of ours: these."""
    made: list[Receiver] = []
    token = _made.set(made)
    try:
        yield made
    finally:
        _made.reset(token)


def _receiver(reader: asyncio.StreamReader) -> FrameReceiver:
    made = _made.get()
    if made is None:
        return FrameReceiver(reader)  # Somebody else's connection, in the same process.
    made.append(Receiver(reader))
    return made[-1]


# The client has no other way to be told.
aiormq.connection.FrameReceiver = _receiver  # type: ignore[misc, assignment]


# --- the bytes of AMQP 0-9-1 ---------------------------------------------------------------------

_METHOD, _HEADER = 1, 2
_FRAME_END: Final = 0xCE
_HEAD: Final = struct.Struct(">BHI")
_TAG: Final = struct.Struct(">QB")
_DELIVER: Final = struct.pack(">HH", 60, 60)

_WIDTH: Final = {"delivery_mode": 1, "priority": 1, "timestamp": 8}
_ORDER: Final = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_KNOWN: Final = frozenset(Envelope.__struct_fields__)

_UNREADABLE: Final[Mapping[str, Any]] = {"schema": None}
"""Of what cannot be read: it is of no version of the wire, so the message is malformed."""


def properties(data: bytes, at: int) -> dict[str, Any]:
    """Read those properties of a content header that an envelope has; ``at`` is their flags."""
    found: dict[str, Any] = {}
    readable = True
    flags = int.from_bytes(data[at : at + 2], "big")
    at += 2
    for name in _present(flags):
        if name == "headers":
            size = 4 + int.from_bytes(data[at : at + 4], "big")
            found[name] = _table(data[at : at + size])
            at += size
        elif name in _WIDTH:
            at += _WIDTH[name]
        else:
            value, at = _short(data, at)
            if name in _KNOWN:
                found[name] = _text(value)
                readable = readable and found[name].encode() == value
    if not readable:
        found["headers"] = {**found.get("headers", {}), **_UNREADABLE}
    return found


@lru_cache(maxsize=64)
def _present(flags: int) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(_ORDER) if flags >> (15 - place) & 1)


@lru_cache(maxsize=64)
def _table(raw: bytes) -> Mapping[str, Any]:
    """Read headers; most messages have the same. Nobody changes what is shared here."""
    try:
        _, headers = decode.field_table(raw)
    except (ValueError, OverflowError, RecursionError):
        return _UNREADABLE
    return headers


def _short(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end], end


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _unmarshalled(data: bytes) -> Frame:
    try:
        return unmarshal(data)
    except PAMQPException as error:
        raise InvalidFrameError(str(error)) from error
