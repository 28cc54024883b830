"""A batch: the deliveries that a runtime takes at once, decoded, looked up and decided in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas.dead_letters import DeadLetterReason
from schemas.envelope import (
    CommandMessage,
    Envelope,
    InputMessage,
    Message,
    RunEventMessage,
    decode,
)
from schemas.errors import MalformedError
from schemas.ids import DeadLetterId, RuntimeId
from schemas.outcomes import Outcome
from schemas.records import Known, ReplyTo
from store.ports import Lookup
from worker.broker.delivery import Delivery
from worker.dead_letters.claims import claim_of, granted
from worker.disposition import Disposition
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.letters import Cause, disposition_of


@dataclass(slots=True)
class Item:
    """One delivery on its way through a batch: what it says, and what became of it."""

    delivery: Delivery
    message: Message | MalformedError
    outcome: Outcome | None = None
    disposition: Disposition = Disposition.DONE
    cause: Cause | None = None
    letter_id: DeadLetterId | None = None
    """The dead letter that an operator had published again as this message."""

    @property
    def envelope(self) -> Envelope:
        """The message as it came."""
        return self.delivery.envelope

    @property
    def reply(self) -> ReplyTo | None:
        """Who wants to know."""
        envelope = self.envelope
        if not envelope.reply_to:
            return None
        return ReplyTo(envelope.reply_to, envelope.correlation_id, self.traceparent)

    @property
    def traceparent(self) -> str | None:
        """The publisher's trace context."""
        found = self.envelope.headers.get("traceparent")
        return found if isinstance(found, str) else None

    def bury(self, reason: DeadLetterReason, detail: str) -> None:
        """Make it a dead letter."""
        self.disposition = Disposition.DEAD_LETTER
        self.cause = (reason, detail)


def opened(delivery: Delivery, *, now: datetime, max_bytes: int) -> Item:
    """Decode a delivery; one that cannot be decoded is a dead letter already."""
    try:
        message = decode(delivery.envelope, received_at=now, max_bytes=max_bytes)
    except MalformedError as fault:
        item = Item(delivery, fault)
        item.bury(DeadLetterReason.MALFORMED, str(fault))
        return item
    return Item(delivery, message)


def lookup(runtime_id: RuntimeId, items: Sequence[Item], current_run: UUID | None) -> Lookup | None:
    """Collect the ids that the store must be asked about; None if there are none.

    Events of the current run need no question: the driver knows it.
    """
    messages = [item.message for item in items]
    headers = [one.input.header for one in messages if isinstance(one, InputMessage)]
    claims = [(item, claim) for item in items if (claim := claim_of(item.envelope)) is not None]
    runs = {one.event.run_id for one in messages if isinstance(one, RunEventMessage)}
    question = Lookup(
        runtime_id,
        inputs=tuple(header.id for header in headers),
        keys=tuple(header.idempotency_key for header in headers if header.idempotency_key),
        runs=tuple(runs - {current_run}),
        commands=tuple(
            one.command.command_id for one in messages if isinstance(one, CommandMessage)
        ),
        redriven=tuple(claim.letter_id for _, claim in claims),
        exhausted=tuple(
            item.message.input.header.id
            for item, _ in claims
            if isinstance(item.message, InputMessage)
        ),
    )
    return None if question == Lookup(runtime_id) else question


def decide(
    driver: Driver, items: Sequence[Item], known: Known, *, now: datetime, jitter: float
) -> None:
    """Have the driver decide each message in order, and note what becomes of its delivery."""
    for item in items:
        if isinstance(item.message, MalformedError):
            continue
        item.letter_id = granted(item.envelope, known)
        arrival = Arrival(
            now=now,
            known=known,
            jitter=jitter,
            reply=item.reply,
            traceparent=item.traceparent,
            redrive=item.letter_id is not None,
        )
        item.outcome = driver.apply(item.message, arrival)
        is_command = isinstance(item.message, CommandMessage)
        item.disposition, item.cause = disposition_of(item.outcome, command=is_command)
