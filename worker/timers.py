"""Timers: what is due becomes a message in the runtime's own inbox, in order with all the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec
import structlog

from schemas.commands import Wake
from schemas.envelope import MessageType
from schemas.ids import RuntimeId
from schemas.records import OutboxMessage, TimerKind
from schemas.runs import RunFailed
from store.ports import DueTimer, RuntimeStore
from worker.broker.topology import Topology
from worker.outbox import Publishes

log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode


def message(due: DueTimer, topology: Topology, *, message_id: UUID, now: datetime) -> OutboxMessage:
    """Make the message that a due timer stands for.

    A lease that is over reads as a failed run; a retry whose time has come, as a wake. Both are
    harmless when they come twice or too late.
    """
    kind, body = _body(due, message_id)
    return to_inbox(topology, due.runtime_id, kind, body, message_id=message_id, now=now)


def to_inbox(
    topology: Topology,
    runtime_id: RuntimeId,
    kind: MessageType,
    body: msgspec.Struct,
    *,
    message_id: UUID,
    now: datetime,
) -> OutboxMessage:
    """Write a message of the worker's own to a runtime's inbox."""
    properties: dict[str, Any] = {"message_id": str(message_id), "type": kind.value}
    return OutboxMessage(
        id=message_id,
        runtime_id=runtime_id,
        exchange=topology.inbox,
        routing_key=runtime_id,
        properties=properties,
        body=_encode(body),
        created_at=now,
    )


def _body(due: DueTimer, message_id: UUID) -> tuple[MessageType, msgspec.Struct]:
    timer = due.timer
    match timer.kind:
        case TimerKind.RUN_LEASE:
            if timer.run_id is None:
                raise ValueError("a lease timer names its run")
            failure = RunFailed(timer.run_id, "lease expired", True, timer.due_at)  # noqa: FBT003
            return MessageType.RUN_EVENT, failure
        case TimerKind.RETRY:
            return MessageType.COMMAND, Wake(message_id)
        case _:
            assert_never(timer.kind)


async def fire(
    store: RuntimeStore,
    publisher: Publishes,
    topology: Topology,
    *,
    now: datetime,
    new_id: Callable[[], UUID],
    limit: int = 200,
) -> list[DueTimer]:
    """Send what is due; answers the timers that fired: those whose message the broker confirmed.

    A message that cannot be published is tried again when the claim on its timer has run out.
    """
    due = await store.fire_timers(now=now, limit=limit)
    messages = [message(one, topology, message_id=new_id(), now=now) for one in due]
    results = await publisher.publish_many(messages)
    fired = []
    for one, failure in zip(due, results, strict=True):
        if failure is None:
            fired.append(one)
        else:
            log.warning("timer: sending again later", runtime_id=one.runtime_id, why=str(failure))
    return fired
