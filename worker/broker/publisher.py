"""Publisher: messages out, confirmed by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

from aiormq import Channel
from pamqp.commands import Basic

from schemas.envelope import SCHEMA_VERSION
from worker.broker.connection import Connection, close_channel
from worker.broker.errors import (
    BrokerError,
    BrokerUnavailableError,
    PublishFailedError,
    UnroutableError,
    translated,
)
from worker.broker.link import Link

PUBLISH_SECONDS: Final = 10.0
IN_FLIGHT: Final = 200
"""Unconfirmed messages at once: beyond this more does not go faster, it only waits longer."""

_PERSISTENT: Final = 2
_CLIENT_NAMES: Final = {"type": "message_type"}
_KNOWN: Final = frozenset(Basic.Properties.__slots__)


class Publication(Protocol):
    """What can be published: an ``Outgoing``, or a message of the store's outbox."""

    @property
    def exchange(self) -> str:
        """The exchange; empty for the default one."""

    @property
    def routing_key(self) -> str:
        """The routing key."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """AMQP properties by their names."""

    @property
    def body(self) -> bytes:
        """The body."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish.

    ``properties`` holds AMQP properties by their names; ``delivery_mode`` 2, ``content_type``
    JSON and the header ``schema`` are added where they are missing.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: Mapping[str, Any] = field(default_factory=dict)


class Publisher:
    """Publishes on one channel of a link, made again when it dies.

    Order is kept within a ``publish_many`` and between calls that are made one after the other.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lane = Lane(link, confirms=True)
        self._in_flight: dict[str, asyncio.Future[None]] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lane.close()

    async def publish(
        self, message: Publication, *, deadline: float = PUBLISH_SECONDS, mandatory: bool = True
    ) -> None:
        """Publish one message and wait until the broker has it safe.

        Args:
            message: The message.
            deadline: Seconds for all of it. A broker that blocks publishers under a memory or
                disk alarm answers nothing until the alarm is over.
            mandatory: Whether a message that no queue is bound for is an error.

        Raises:
            UnroutableError: No queue is bound for it.
            PublishFailedError: Sent, but not confirmed. It may have arrived, even later:
                publish it again with the same id.
            BrokerUnavailableError: No connection within the deadline; nothing was sent.
        """
        until = asyncio.get_running_loop().time() + deadline
        channel = await self._channel(until, f"{_naming(message)}: not sent")
        await self._publish_on(channel, message, until, mandatory=mandatory)

    async def publish_many(
        self,
        messages: Sequence[Publication],
        *,
        deadline: float = PUBLISH_SECONDS,
        mandatory: bool = True,
    ) -> list[BrokerError | None]:
        """Publish in order, many unconfirmed at once; the result says None or what went wrong.

        ``deadline`` is for all of them together. All go out on one channel: where it dies, what
        follows fails too, so nothing overtakes. Errors as of ``publish``.
        """
        until = asyncio.get_running_loop().time() + deadline
        try:
            channel = await self._channel(until, f"{len(messages)} messages not sent")
        except BrokerError as error:
            return [error] * len(messages)
        return await asyncio.gather(
            *(self._attempt(channel, message, until, mandatory=mandatory) for message in messages)
        )

    async def _channel(self, until: float, doing: str) -> Channel:
        try:
            async with asyncio.timeout_at(until):
                return await self._lane.channel()
        except TimeoutError as error:
            reason = self._link.last_error or "no connection to the broker in time"
            raise BrokerUnavailableError(f"{doing}: {reason}") from error

    async def _attempt(
        self, channel: Channel, message: Publication, until: float, *, mandatory: bool
    ) -> BrokerError | None:
        async with self._slots:
            try:
                await self._publish_on(channel, message, until, mandatory=mandatory)
            except BrokerError as error:
                return error
        return None

    async def _publish_on(
        self, channel: Channel, message: Publication, until: float, *, mandatory: bool
    ) -> None:
        properties = _properties(message)
        try:
            async with asyncio.timeout_at(until):
                await self._publish_alone(channel, message, properties, mandatory=mandatory)
        except TimeoutError as error:
            text = f"{_naming(message)}: not confirmed in time"
            raise PublishFailedError(text) from error

    async def _publish_alone(
        self,
        channel: Channel,
        message: Publication,
        properties: Basic.Properties,
        *,
        mandatory: bool,
    ) -> None:
        """Publish when no other message with the same id is in flight.

        aiormq tells by its id which message came back unroutable; with two of one id it would take
        one for the other, and say of a lost message that it is safe.
        """
        identity = properties.message_id or ""
        while (other := self._in_flight.get(identity)) is not None:
            await asyncio.wait({other})
        done = asyncio.get_running_loop().create_future()
        if identity:
            self._in_flight[identity] = done
        try:
            await _send(channel, message, properties, mandatory=mandatory)
        finally:
            self._in_flight.pop(identity, None)
            done.set_result(None)


class Lane:
    """One channel of the current connection, opened when it is first needed."""

    def __init__(self, link: Link, *, confirms: bool) -> None:
        self._link = link
        self._confirms = confirms
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    async def channel(self) -> Channel:
        """Have the channel: the open one, or a new one once there is a connection."""
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                connection: Connection = await self._link.ready()
                self._channel = await connection.channel(confirms=self._confirms)
            return self._channel

    async def close(self) -> None:
        """Close the channel, if there is one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await close_channel(channel)


async def _send(
    channel: Channel,
    message: Publication,
    properties: Basic.Properties,
    *,
    mandatory: bool,
) -> None:
    doing = _naming(message)
    try:
        with translated(doing):
            await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=properties,
                mandatory=mandatory,
                wait=False,
            )
    except (UnroutableError, PublishFailedError):
        raise
    except BrokerError as error:
        raise PublishFailedError(str(error)) from error


def _naming(message: Publication) -> str:
    exchange = message.exchange or "the default exchange"
    return f"message {message.properties.get('message_id')} to {exchange}, {message.routing_key}"


def _properties(message: Publication) -> Basic.Properties:
    given = {_CLIENT_NAMES.get(name, name): value for name, value in message.properties.items()}
    unknown = given.keys() - _KNOWN
    if unknown:
        raise ValueError(f"properties: not of AMQP 0-9-1: {', '.join(sorted(unknown))}")
    headers = {"schema": SCHEMA_VERSION, **(given.pop("headers", None) or {})}
    return Basic.Properties(
        **{"content_type": "application/json", "delivery_mode": _PERSISTENT, **given},
        headers=headers,
    )
