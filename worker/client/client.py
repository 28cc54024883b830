"""The client: publishes inputs, waits for outcomes, gives commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from uuid import UUID

import msgspec

from schemas.commands import Command, CommandReport
from schemas.envelope import (
    DEFAULT_MAX_BYTES,
    Envelope,
    MessageType,
    decode,
    decode_command_report,
    decode_completion,
)
from schemas.errors import MalformedError
from schemas.ids import InputId, RuntimeId, runtime_id
from schemas.inputs import Input
from schemas.outcomes import CompletionOutcome
from worker.broker.errors import BrokerError, BrokerUnavailableError, UnroutableError
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import DEFAULT_NAMESPACE, Layout, Topology
from worker.client.drafts import Draft
from worker.client.errors import Failure, NoReplyError, PublishManyError
from worker.client.introductions import Introductions
from worker.client.replies import Replies

PUBLISH_SECONDS: Final = 30.0
REPLY_SECONDS: Final = 60.0

Item: TypeAlias = Draft | Input
"""What can be published: a draft, or an input that was made some other way."""


class Client:
    """Publishes to runtimes: ``async with Client(url) as client: ...``.

    Every message is confirmed by the broker before a call returns. A call that raises may be made
    again with the same draft or command: the ids are the same, so nothing happens twice.

    The connection is made, and made again, in the background; a call waits for it within its own
    ``timeout`` (seconds, for all that the call does).

    Args:
        url: ``amqp://user:password@host:port/vhost``.
        namespace: What the names on the broker start with.
        layout: ``per-runtime`` or ``sharded:N``; the same as the workers'.
        max_message_bytes: The largest message that the workers take.

    Raises:
        ValueError: The namespace or the layout does not have its shape.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        layout: str = "per-runtime",
        max_message_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._topology = Topology(namespace, Layout.parse(layout))
        self._max_message_bytes = max_message_bytes
        self._link = Link(url, f"{namespace} client")
        self._publisher = Publisher(self._link)
        self._introductions = Introductions(self._link, self._publisher, self._topology)
        self._replies = Replies(self._link, self._topology)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._link)
        await self._stack.enter_async_context(self._publisher)
        self._stack.push_async_callback(self._introductions.close)
        self._stack.push_async_callback(self._replies.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def publish(
        self,
        runtime_id: str,
        item: Item,
        *,
        timeout: float = PUBLISH_SECONDS,  # noqa: ASYNC109 - becomes the broker's deadline too
    ) -> InputId:
        """Publish an input; return its id once the broker has it safe.

        Raises:
            MalformedError: A worker would refuse it. Names the field.
            ValueError: The runtime id does not have its shape.
            UnroutableError: It reached no queue.
            PublishFailedError: Not confirmed. It may have arrived: publish the same item again.
            BrokerUnavailableError: No connection in time.
        """
        outgoing = self._input(runtime_id, item, {})
        await self._send(outgoing, _until(timeout))
        return _id_of(outgoing)

    async def publish_many(
        self,
        items: Iterable[tuple[str, Item]],
        *,
        timeout: float = PUBLISH_SECONDS,  # noqa: ASYNC109 - becomes the broker's deadline too
    ) -> list[InputId]:
        """Publish pairs of runtime id and input, pipelined; per runtime, their order is kept.

        Returns their ids, in order. Everything is checked before the first one is sent.

        Raises:
            MalformedError: As ``publish``; nothing was sent.
            ValueError: As ``publish``; nothing was sent.
            PublishManyError: Says which ones were not confirmed, and why.
        """
        messages = [self._input(runtime, item, {}) for runtime, item in items]
        until = _until(timeout)
        strangers = await self._introduce_all(messages, until)
        sent = [each for each in messages if each.routing_key not in strangers]
        results = iter(await self._publisher.publish_many(sent, deadline=_left(until)))
        failures = []
        for each in messages:
            error = strangers.get(each.routing_key) or next(results)
            if error is not None:
                failures.append(Failure(RuntimeId(each.routing_key), _id_of(each), error))
        if failures:
            self._forget_unroutable(failures)
            raise PublishManyError(failures, of=len(messages))
        return [_id_of(each) for each in messages]

    async def request(
        self,
        runtime_id: str,
        item: Item,
        *,
        timeout: float = REPLY_SECONDS,  # noqa: ASYNC109 - an argument that users expect
    ) -> CompletionOutcome:
        """Publish an input and wait for its end.

        An input that is known already and has ended is answered with ``DeduplicatedOutcome``.

        Raises:
            NoReplyError: It is on the broker, and did not end in time.
            MalformedError, ValueError, BrokerError: As ``publish``.
        """
        outgoing = self._input(runtime_id, item, self._reply_to())
        reply = await self._ask(outgoing, "input", timeout)
        return decode_completion(reply).outcome

    async def command(
        self,
        runtime_id: str,
        command: Command,
        *,
        timeout: float = REPLY_SECONDS,  # noqa: ASYNC109 - an argument that users expect
    ) -> CommandReport:
        """Give a command and wait for the report; a refusal is a report as well.

        Raises:
            NoReplyError: It is on the broker, and was not carried out in time.
            MalformedError, ValueError, BrokerError: As ``publish``.
        """
        outgoing = self._message(
            runtime_id, MessageType.COMMAND, command.command_id, command, self._reply_to()
        )
        return decode_command_report(await self._ask(outgoing, "command", timeout))

    async def _ask(self, outgoing: Outgoing, what: str, seconds: float) -> Envelope:
        until = _until(seconds)
        message_id = str(_id_of(outgoing))
        with self._replies.expect(message_id) as reply:
            with _in_time(until, f"{what} {message_id} not sent", self._link):
                async with asyncio.timeout_at(until):
                    await self._replies.ready()
            await self._send(outgoing, until)
            try:
                async with asyncio.timeout_at(until):
                    return await reply
            except TimeoutError as error:
                text = f"{what} {message_id} was published; no reply within {seconds:g} s"
                raise NoReplyError(text) from error

    async def _send(self, outgoing: Outgoing, until: float) -> None:
        runtime = RuntimeId(outgoing.routing_key)
        await self._introduce(runtime, until)
        try:
            await self._publisher.publish(outgoing, deadline=_left(until))
        except UnroutableError:
            self._introductions.forget(runtime)
            raise

    async def _introduce(self, runtime: RuntimeId, until: float) -> None:
        with _in_time(until, f"nothing sent to {runtime}", self._link):
            async with asyncio.timeout_at(until):
                await self._introductions.introduce(runtime)

    async def _introduce_all(
        self, messages: Sequence[Outgoing], until: float
    ) -> Mapping[str, BrokerError]:
        """Introduce all runtimes; answer those that could not be."""
        runtimes = [RuntimeId(each) for each in {message.routing_key for message in messages}]
        results = await asyncio.gather(
            *(self._introduce(each, until) for each in runtimes), return_exceptions=True
        )
        failed: dict[str, BrokerError] = {}
        for runtime, result in zip(runtimes, results, strict=True):
            if isinstance(result, BrokerError):
                failed[runtime] = result
            elif result is not None:
                raise result
        return failed

    def _forget_unroutable(self, failures: Iterable[Failure]) -> None:
        for each in failures:
            if isinstance(each.error, UnroutableError):
                self._introductions.forget(each.runtime_id)

    def _reply_to(self) -> dict[str, str]:
        return {"reply_to": self._replies.queue}

    def _input(self, runtime: str, item: Item, properties: dict[str, str]) -> Outgoing:
        body = item.to_input() if isinstance(item, Draft) else item
        return self._message(runtime, MessageType.INPUT, body.header.id, body, properties)

    def _message(
        self,
        runtime: str,
        kind: MessageType,
        message_id: UUID,
        body: msgspec.Struct,
        properties: dict[str, str],
    ) -> Outgoing:
        """Write a message, and read it as a worker would, so that errors come to who made them."""
        encoded = _encoded(body)
        envelope = Envelope(runtime_id(runtime), encoded, str(message_id), kind)
        decode(envelope, received_at=datetime.now(UTC), max_bytes=self._max_message_bytes)
        if properties:
            properties = {**properties, "correlation_id": str(message_id)}
        return Outgoing(
            exchange=self._topology.inbox,
            routing_key=runtime,
            body=encoded,
            properties={"message_id": str(message_id), "type": kind.value, **properties},
        )


def _encoded(body: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedError("$", f"expected what JSON can hold: {error}") from error


def _id_of(outgoing: Outgoing) -> UUID:
    given: Any = outgoing.properties["message_id"]
    return UUID(given)


def _until(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _left(until: float) -> float:
    return max(0.0, until - asyncio.get_running_loop().time())


@contextmanager
def _in_time(until: float, doing: str, link: Link) -> Iterator[None]:
    """Say that the broker was away for too long, and why; timeouts of others pass."""
    try:
        yield
    except TimeoutError as error:
        if _left(until) > 0:
            raise
        reason = link.last_error or "no answer from the broker in time"
        raise BrokerUnavailableError(f"{doing}: {reason}") from error
