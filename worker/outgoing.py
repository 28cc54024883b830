"""Outgoing: from what the driver wants said to messages for the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from schemas.commands import CommandReport
from schemas.envelope import MessageType, Signal
from schemas.events import RuntimeEventEnvelope, event_code
from schemas.ids import RuntimeId, id_text
from schemas.outcomes import Completion
from schemas.records import Announce, Complete, OutboxMessage, ReplyTo, SignalExecutor
from schemas.runs import RunRequest
from worker.broker.topology import Topology

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Sender:
    """Writes messages on behalf of one runtime at one moment."""

    topology: Topology
    pool: str
    runtime_id: RuntimeId
    now: datetime

    def run_request(
        self, message_id: UUID, request: RunRequest, traceparent: str | None
    ) -> OutboxMessage:
        """Ask the pool to perform a run; its message id is the run's id."""
        return self._message(
            message_id,
            self.topology.runs,
            self.pool,
            MessageType.RUN_REQUEST,
            request,
            _trace(traceparent),
            message_id=request.run_id,
        )

    def completion(self, message_id: UUID, effect: Complete) -> OutboxMessage:
        """Tell whoever waits for an input how it ended."""
        body = Completion(effect.input_id, effect.outcome)
        return self._reply(message_id, effect.reply, MessageType.COMPLETION, body)

    def report(self, message_id: UUID, reply: ReplyTo, report: CommandReport) -> OutboxMessage:
        """Answer a command."""
        return self._reply(message_id, reply, MessageType.COMPLETION, report)

    def signal(self, message_id: UUID, effect: SignalExecutor) -> OutboxMessage:
        """Tell the executor that holds a run to cancel or to yield."""
        body = Signal(effect.signal, self.runtime_id, effect.run_id)
        return self._message(
            message_id, self.topology.signals, self.runtime_id, MessageType.SIGNAL, body, {}
        )

    def announcement(self, message_id: UUID, effect: Announce) -> OutboxMessage:
        """Tell observers."""
        body = RuntimeEventEnvelope(message_id, self.now, self.runtime_id, effect.event)
        key = f"{event_code(effect.event)}.{self.runtime_id}"
        return self._message(
            message_id, self.topology.events, key, MessageType.RUNTIME_EVENT, body, {}
        )

    def _reply(
        self, message_id: UUID, reply: ReplyTo, kind: MessageType, body: msgspec.Struct
    ) -> OutboxMessage:
        about: dict[str, Any] = (
            {"correlation_id": reply.correlation_id} if reply.correlation_id else {}
        )
        about |= _trace(reply.traceparent)
        return self._message(message_id, "", reply.queue, kind, body, about)

    def _message(  # noqa: PLR0913 - one field of the message each
        self,
        row_id: UUID,
        exchange: str,
        routing_key: str,
        kind: MessageType,
        body: msgspec.Struct,
        properties: dict[str, Any],
        *,
        message_id: UUID | None = None,
    ) -> OutboxMessage:
        identity = id_text(message_id or row_id)
        return OutboxMessage(
            id=row_id,
            runtime_id=self.runtime_id,
            exchange=exchange,
            routing_key=routing_key,
            properties={"message_id": identity, "type": kind.value, **properties},
            body=_encode(body),
            created_at=self.now,
        )


def _trace(traceparent: str | None) -> dict[str, Any]:
    """Pass the trace context on in a message's headers."""
    return {} if traceparent is None else {"headers": {"traceparent": traceparent}}
