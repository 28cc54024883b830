"""What stands across the broker from an SDK: a worker's mouth and ears, in plain AMQP."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractRobustConnection
from pamqp.commands import Queue
from uuid_utils.compat import uuid7

from schemas.envelope import (
    CommandMessage,
    Envelope,
    InputMessage,
    Message,
    MessageType,
    RunEventMessage,
    Signal,
    decode,
)
from schemas.ids import RunId, RuntimeId
from schemas.runs import (
    Append,
    Boundary,
    RunEvent,
    RunRequest,
    SessionSnapshot,
    SignalKind,
    StagedInput,
)
from worker.broker.connection import Connection
from worker.broker.topology import Layout, Topology


class Counterpart:
    """Hears what is published to inboxes, and says what a worker would say.

    Attributes:
        heard: Every message of the inboxes that are listened to, in the broker's order.
    """

    def __init__(self, url: str, namespace: str, layout: str = "per-runtime") -> None:
        self.topology = Topology(namespace, Layout.parse(layout))
        self.heard: list[tuple[Envelope, Message]] = []
        self._url = url

    async def __aenter__(self) -> Self:
        self._connection: AbstractRobustConnection = await aio_pika.connect_robust(self._url)
        self.channel: AbstractChannel = await self._connection.channel()
        await self.declare()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def declare(self, pool: str = "default") -> None:
        """Declare what is shared and a pool."""
        connection = await Connection.open(self._url, "counterpart")
        channel = await connection.channel()
        await self.topology.declare_shared(channel)
        await self.topology.declare_pool(channel, pool)
        await connection.close()

    async def listen(self, runtime_id: str) -> None:
        """Declare a runtime's inbox and hear all that comes."""
        connection = await Connection.open(self._url, "counterpart")
        await self.topology.declare_inbox(await connection.channel(), RuntimeId(runtime_id))
        await connection.close()
        queue = await self.channel.get_queue(self.topology.queue_of(RuntimeId(runtime_id)))
        await queue.consume(self._hear)

    @property
    def messages(self) -> list[Message]:
        """What was heard, decoded."""
        return [message for _, message in self.heard]

    @property
    def inputs(self) -> list[InputMessage]:
        """The inputs among what was heard."""
        return [each for each in self.messages if isinstance(each, InputMessage)]

    @property
    def commands(self) -> list[CommandMessage]:
        """The commands among what was heard."""
        return [each for each in self.messages if isinstance(each, CommandMessage)]

    def events(self, run_id: RunId) -> list[RunEvent]:
        """The events of one run, without repeats of an event id."""
        seen: dict[UUID, RunEvent] = {}
        for each in self.messages:
            if isinstance(each, RunEventMessage) and each.event.run_id == run_id:
                seen.setdefault(each.event_id, each.event)
        return list(seen.values())

    def events_of(self, run_id: RunId, kind: type[Any]) -> list[Any]:
        """The events of one kind of one run."""
        return [each for each in self.events(run_id) if isinstance(each, kind)]

    async def reply(self, to: Envelope, body: msgspec.Struct) -> None:
        """Answer a message as a worker does: its reply queue, its correlation id."""
        message = aio_pika.Message(
            msgspec.json.encode(body),
            type=MessageType.COMPLETION.value,
            correlation_id=to.correlation_id,
            delivery_mode=2,
        )
        await self.channel.default_exchange.publish(message, routing_key=to.reply_to or "")

    async def request_run(
        self,
        texts: Sequence[str] = ("hi",),
        *,
        runtime_id: str = "agent",
        lease_seconds: float = 30.0,
        snapshot: SessionSnapshot | None = None,
    ) -> RunRequest:
        """Ask the default pool for a run over one prompt each text."""
        request = RunRequest(
            run_id=uuid7(),
            runtime_id=runtime_id,
            epoch=1,
            attempt=1,
            primitive=StagedInput(
                boundary=Boundary.RUN_START,
                appends=tuple(Append("user", text) for text in texts),
                contributing_input_ids=tuple(uuid7() for _ in texts),
            ),
            lease_seconds=lease_seconds,
            session_snapshot=snapshot,
        )
        await self.send_request(msgspec.json.encode(request), str(request.run_id))
        return request

    async def send_request(self, body: bytes, message_id: str) -> None:
        """Put any bytes into the default pool."""
        message = aio_pika.Message(
            body,
            message_id=message_id,
            type=MessageType.RUN_REQUEST.value,
            delivery_mode=2,
            headers={"traceparent": f"00-{message_id}"},
        )
        exchange = await self.channel.get_exchange(self.topology.runs)
        await exchange.publish(message, routing_key="default")

    async def signal(self, request: RunRequest, kind: SignalKind) -> None:
        """Signal whoever holds a run."""
        body = msgspec.json.encode(Signal(kind, request.runtime_id, request.run_id))
        message = aio_pika.Message(body, type=MessageType.SIGNAL.value)
        exchange = await self.channel.get_exchange(self.topology.signals)
        await exchange.publish(message, routing_key=request.runtime_id)

    async def waiting_in(self, queue: str) -> int:
        """Count the messages of a queue that nobody holds."""
        return (await self._declared(queue)).message_count or 0

    async def is_unattended(self, queue: str) -> bool:
        """Tell whether nobody consumes a queue."""
        return (await self._declared(queue)).consumer_count == 0

    async def is_attended(self, pool: str) -> bool:
        """Tell whether an executor consumes a pool."""
        return not await self.is_unattended(self.topology.pool_queue(pool))

    async def is_in_hand(self, pool: str) -> bool:
        """Tell whether all requests of a pool are in somebody's hand."""
        return (await self._declared(self.topology.pool_queue(pool))).message_count == 0

    async def _declared(self, queue: str) -> Queue.DeclareOk:
        channel = await self._connection.channel()
        try:
            return (await channel.declare_queue(queue, passive=True)).declaration_result
        finally:
            await channel.close()

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        envelope = Envelope(
            routing_key=message.routing_key or "",
            body=message.body,
            message_id=message.message_id,
            type=message.type,
            content_type=message.content_type,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            headers=message.headers,
        )
        self.heard.append((envelope, decode(envelope, received_at=datetime.now(UTC))))
        await message.ack()
