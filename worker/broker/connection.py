"""Connection: one connection to the broker, used until it dies; then all that was on it is gone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

import aio_pika
from aiormq import Channel
from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPChannelError
from yarl import URL

from worker.broker.acks import Acks
from worker.broker.channel_numbers import ChannelNumbers
from worker.broker.errors import BrokerError, BrokerUnavailableError, reason_of, translated
from worker.broker.receiver import Receiver, Taker, receivers

HEARTBEAT_SECONDS: Final = 5
"""aiormq gives up after three heartbeats and some: 18 to 20 s after the last sign of life. The
broker counts two: it gives up on a frozen process after 10 s and lets the next one take over."""

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 3.0
MOST_CHANNELS: Final = 65_535
CLOSINGS: Final = 32
"""Channels of a connection that are being closed at once."""

DEFAULT_PORT: Final = {"amqp": 5672, "amqps": 5671}
RPC_SECONDS: Final = 15.0
FRAMES: Final = 300
"""Frames that a channel may have waiting. Each time it is full, tasks are switched; by default that
is at each tenth confirm."""

_turns: WeakKeyDictionary[AbstractConnection, asyncio.Semaphore] = WeakKeyDictionary()
_closing: set[asyncio.Task[None]] = set()


def address_of(url: str) -> str:
    """Say where a broker is, without credentials: ``host:port`` and the virtual host if any.

    Raises:
        BrokerUnavailableError: It is no address of a broker; says what is expected.
    """
    parsed = _checked(url)
    vhost = parsed.path.strip("/")
    port = parsed.port or DEFAULT_PORT.get(parsed.scheme, 0)
    return f"{parsed.host}:{port}" + (f"/{vhost}" if vhost else "")


class Connection:
    """An open connection. ``address`` and ``version`` are facts about the broker behind it.

    Made by aio-pika; its channels are those of the transport below, aiormq. What is delivered to
    consumers of ours goes past both: see ``receiver``.

    ``acks`` sends those of its consumers.
    """

    def __init__(
        self, connection: aio_pika.abc.AbstractConnection, receiver: Receiver, url: str, name: str
    ) -> None:
        if connection.transport is None:
            raise BrokerUnavailableError(f"RabbitMQ at {address_of(url)}: the connection was lost")
        self._connection = connection
        self._receiver = receiver
        self._wire: AbstractConnection = connection.transport.connection
        self._numbers = ChannelNumbers(self._wire.connection_tune.channel_max or MOST_CHANNELS)
        self._opening: set[int] = set()
        self.address = address_of(url)
        self.name = name
        self.version = _version(self._wire)
        self.lost = asyncio.Event()
        # aiormq hands out a new observer at each access; this one lives as long as we do.
        self._observer = self._wire.closing
        self._observer.add_done_callback(lambda _: self.lost.set())
        self.acks = Acks(self._wire)
        self._observer.add_done_callback(lambda _: self.acks.stop())

    @classmethod
    async def open(cls, url: str, name: str, *, deadline: float = CONNECT_SECONDS) -> Connection:
        """Connect within ``deadline`` seconds. ``name`` is what the broker's tools show.

        Raises:
            BrokerUnavailableError: Says which address, and what is wrong with it.
        """
        checked = _checked(url)
        with translated(f"RabbitMQ at {address_of(url)} cannot be used"):
            async with asyncio.timeout(deadline):
                with receivers() as made:
                    connection = await _connected(checked, name)
        (receiver,) = made
        return cls(connection, receiver, url, name)

    @property
    def is_open(self) -> bool:
        """Tell whether it can be used, as far as we know."""
        return not self.lost.is_set() and self._wire.is_opened

    @property
    def end(self) -> str:
        """What ended it, in a phrase; empty while nothing has."""
        if not self._observer.done() or self._observer.cancelled():
            return ""
        error = self._observer.exception()
        return "" if error is None else reason_of(error)

    @property
    def channels(self) -> int:
        """How many channels are open."""
        return len(self._wire.channels)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call back, once, from the event loop, when the connection is gone for any reason."""
        self._observer.add_done_callback(lambda _: callback())

    async def channel(self, *, confirms: bool = False) -> Channel:
        """Open a channel; with ``confirms``, one to publish on, where unroutable raises.

        Raises:
            BrokerUnavailableError: The connection was lost.
        """
        with translated(f"cannot open a channel to RabbitMQ at {self.address}"):
            number = self._free_number()
            self._opening.add(number)
            try:
                channel = await self._opened(number, confirms=confirms)
            finally:
                self._opening.discard(number)
        channel.closing.add_done_callback(partial(self._on_channel_closed, number))
        return channel

    async def take(
        self,
        channel: Channel,
        queue: str,
        taker: Taker,
        *,
        timeout: float,  # noqa: ASYNC109 - the client's word
    ) -> None:
        """Consume a queue on a channel; see ``receiver``."""
        tag, number = f"meerkat-{uuid4().hex}", channel.number
        self._receiver.take(number, tag, taker)
        channel.closing.add_done_callback(lambda _: self._receiver.forget(number, tag))
        await channel.basic_consume(queue, _never, consumer_tag=tag, timeout=timeout)

    async def _opened(self, number: int, *, confirms: bool) -> Channel:
        """Open a channel as the client's connection does it, but with a number of our choice."""
        if not self.is_open:
            raise BrokerUnavailableError("the connection was lost")
        channel = Channel(
            self._wire,
            number,
            publisher_confirms=confirms,
            frame_buffer=FRAMES,
            on_return_raises=confirms,
        )
        self._wire.channels[number] = channel
        await channel.open(timeout=RPC_SECONDS)
        return channel

    def _free_number(self) -> int:
        number = self._numbers.take({*self._wire.channels, *self._opening})
        if number is None:
            raise BrokerUnavailableError(
                f"all channels of a connection to RabbitMQ at {self.address} are in use"
            )
        return number

    def _on_channel_closed(self, number: int, closing: asyncio.Future[None]) -> None:
        if not closing.cancelled() and isinstance(closing.exception(), AMQPChannelError):
            self._numbers.spoil(number)

    async def close(self) -> None:
        """Close it, waiting a few seconds at most; a dead peer's is closed in the background."""
        await asyncio.wait({_in_background(self._close())}, timeout=CLOSE_SECONDS)

    async def _close(self) -> None:
        with suppress(BrokerError), translated("closing"):
            await self._connection.close()


async def _never(_message: DeliveredMessage) -> None:
    raise AssertionError("a taker's delivery came by the client's way")


async def _connected(url: URL, name: str) -> aio_pika.abc.AbstractConnection:
    """Connect; what could not connect is closed at once.

    Else its finalizer does it whenever it is collected, perhaps when no event loop runs any more.
    """
    connection = aio_pika.Connection(url, client_properties={"connection_name": name})
    try:
        await connection.connect()
    except BaseException:
        await connection.close()
        raise
    return connection


def close_channel_soon(channel: Channel) -> asyncio.Task[None]:
    """Close a channel without waiting for it."""
    return _in_background(_close_channel(channel))


async def close_channel(channel: Channel) -> None:
    """Close a channel, waiting a few seconds at most: a blocked connection does not answer."""
    if not channel.is_closed:
        await asyncio.wait({close_channel_soon(channel)}, timeout=CLOSE_SECONDS)


async def _close_channel(channel: Channel) -> None:
    """Close it when few others are being closed.

    aiormq gives a close one heartbeat's time and then sends a second one, over which the broker
    may close the connection; thousands at once take the broker longer than that.
    """
    async with _turns.setdefault(channel.connection, asyncio.Semaphore(CLOSINGS)):
        with suppress(BrokerError), translated("closing a channel"):
            await channel.close()


def _in_background(closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(closing)
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    return task


def _checked(url: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError as error:
        raise BrokerUnavailableError(
            "broker address: expected amqp://host:port/, with a port from 1 to 65535"
        ) from error
    if parsed.scheme not in DEFAULT_PORT or not parsed.host:
        raise BrokerUnavailableError(
            "broker address: expected amqp://user:password@host:port/vhost or amqps://..., "
            f"got {parsed.scheme or 'no'} scheme and {'a' if parsed.host else 'no'} host"
        )
    if "heartbeat" in parsed.query:
        return parsed
    return parsed.update_query(heartbeat=HEARTBEAT_SECONDS)


def _version(wire: AbstractConnection) -> tuple[int, ...]:
    text = str((wire.server_properties or {}).get("version", ""))
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
