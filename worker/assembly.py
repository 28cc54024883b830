"""Assembly: from what the driver decided to the one commit that makes it durable.

Bytes that belong in the blob store are put there before the commit, so that a committed row never
names a blob that is not there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, assert_never
from uuid import UUID

import msgspec

from schemas import content
from schemas.commands import CommandReport
from schemas.content import BlobRef
from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.envelope import (
    CommandMessage,
    Envelope,
    MessageType,
    decode_stored_input,
)
from schemas.ids import DeadLetterId, InputId, RuntimeId
from schemas.outcomes import Accepted
from schemas.records import (
    Announce,
    BuryInput,
    Changes,
    Complete,
    CorruptRecord,
    Effect,
    OutboxMessage,
    Rebuild,
    RequestRun,
    SignalExecutor,
    SnapshotRecord,
)
from schemas.runs import RunRequest, SessionSnapshot
from store.images import externalize
from store.ports import BlobStore, Commit, Contents, Wanted
from worker.batch import Item
from worker.broker.topology import Topology
from worker.committer import Committer
from worker.disposition import Disposition
from worker.driver.render import staged_input
from worker.letters import Cause, letter
from worker.outgoing import Sender

SNAPSHOT_MEDIA_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Assembled:
    """A commit, and what is to be done after it.

    Attributes:
        commit: The runtime's part of the next group commit.
        announcements: Runtime events to publish without a guarantee.
        rebuild: Whether the driver is to be dropped after the commit.
    """

    commit: Commit
    announcements: tuple[OutboxMessage, ...] = ()
    rebuild: bool = False


@dataclass(slots=True)
class _Draft:
    """What one assembly has gathered so far."""

    sender: Sender
    payloads: dict[InputId, bytes]
    snapshot: SnapshotRecord | None
    outbox: list[OutboxMessage] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    announcements: list[OutboxMessage] = field(default_factory=list)
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class Assembler:
    """Makes commits for the runtimes of a worker.

    Attributes:
        reads: Where payloads and snapshots are read.
        blobs: Where images and large snapshots go.
        inline_snapshot_bytes: The largest snapshot that is kept in the database.
        durable_events: Whether runtime events go through the outbox.
    """

    reads: Committer
    blobs: BlobStore
    topology: Topology
    pool: str
    lease_seconds: float
    inline_snapshot_bytes: int
    durable_events: bool
    new_id: Callable[[], UUID]

    async def assemble(
        self,
        runtime_id: RuntimeId,
        epoch: int,
        changes: Changes,
        items: Sequence[Item],
        corrupt: Sequence[CorruptRecord],
        *,
        now: datetime,
    ) -> Assembled:
        """Make the commit for one batch.

        Raises:
            StoreError: A blob could not be put, or a payload could not be read; nothing is written.
        """
        draft = _Draft(
            Sender(self.topology, self.pool, runtime_id, now),
            await self._stored_payloads(changes, items),
            await self._stored_snapshot(changes.snapshot),
        )
        draft.dead_letters.extend(self.letters(runtime_id, items, now=now))
        for item in items:
            self._answer(item, draft)
        for record in corrupt:
            draft.dead_letters.append(self._corrupt(record, draft.sender))
        for effect in changes.effects:
            await self._carry_out(effect, epoch, draft)
        commit = Commit(
            runtime_id=runtime_id,
            epoch=epoch,
            changes=msgspec.structs.replace(changes, snapshot=draft.snapshot),
            payloads=draft.payloads,
            outbox=tuple(draft.outbox),
            dead_letters=tuple(draft.dead_letters),
            quarantined=tuple(record.input_id for record in corrupt),
            closed=_processed(items),
        )
        return Assembled(commit, tuple(draft.announcements), draft.rebuild)

    def letters(
        self, runtime_id: RuntimeId, items: Sequence[Item], *, now: datetime
    ) -> tuple[DeadLetter, ...]:
        """Keep those of a batch's messages that are dead letters."""
        sender = Sender(self.topology, self.pool, runtime_id, now)
        return tuple(
            self._letter(item.envelope, item.cause, sender, queue=item.delivery.queue)
            for item in items
            if item.cause is not None
        )

    async def _stored_payloads(
        self, changes: Changes, items: Sequence[Item]
    ) -> dict[InputId, bytes]:
        """Pair each new input with its JSON, images moved to the blob store.

        One that a redrive brought back is an update, and has its JSON anew: it may be another.
        """
        accepted = {
            item.outcome.input_id: item.envelope.body
            for item in items
            if isinstance(item.outcome, Accepted)
        }
        payloads = {}
        back = (record for record in changes.updated if record.input_id in accepted)
        for record in (*changes.inserted, *back):
            stored = externalize(accepted[record.input_id])
            for blob in stored.blobs:
                await self.blobs.put(blob)
            payloads[record.input_id] = stored.payload
        return payloads

    async def _stored_snapshot(self, snapshot: SnapshotRecord | None) -> SnapshotRecord | None:
        """Move a large snapshot to the blob store."""
        if snapshot is None or snapshot.data is None:
            return snapshot
        if len(snapshot.data) <= self.inline_snapshot_bytes:
            return snapshot
        text = base64.b64encode(snapshot.data).decode()
        blob = content.blob(SNAPSHOT_MEDIA_TYPE, text)
        await self.blobs.put(blob)
        return msgspec.structs.replace(snapshot, data=None, blob_id=blob.blob_id)

    def _answer(self, item: Item, draft: _Draft) -> None:
        """Answer a command to whoever sent it."""
        if isinstance(item.message, CommandMessage) and item.reply and item.outcome is not None:
            outcome = msgspec.to_builtins(item.outcome)
            report = CommandReport(item.message.command.command_id, outcome)
            draft.outbox.append(draft.sender.report(self.new_id(), item.reply, report))

    async def _carry_out(self, effect: Effect, epoch: int, draft: _Draft) -> None:
        sender = draft.sender
        match effect:
            case RequestRun():
                draft.outbox.append(await self._run_request(effect, epoch, draft))
            case Complete():
                draft.outbox.append(sender.completion(self.new_id(), effect))
            case SignalExecutor():
                draft.outbox.append(sender.signal(self.new_id(), effect))
            case BuryInput():
                draft.dead_letters.append(await self._buried(effect, draft))
            case Announce():
                row = sender.announcement(self.new_id(), effect)
                (draft.outbox if self.durable_events else draft.announcements).append(row)
            case Rebuild():
                draft.rebuild = True
            case _:
                assert_never(effect)

    async def _run_request(self, effect: RequestRun, epoch: int, draft: _Draft) -> OutboxMessage:
        run = effect.run
        contents = await self._contents(run.batch, draft, snapshot=draft.snapshot is None)
        items = [decode_stored_input(contents.payloads[input_id]) for input_id in run.batch]
        request = RunRequest(
            run_id=run.run_id,
            runtime_id=draft.sender.runtime_id,
            epoch=epoch,
            attempt=run.attempt,
            primitive=staged_input(run.boundary, items),
            lease_seconds=self.lease_seconds,
            session_snapshot=_session_snapshot(draft.snapshot or contents.snapshot),
        )
        return draft.sender.run_request(self.new_id(), request, effect.traceparent)

    async def _contents(
        self, ids: Sequence[InputId], draft: _Draft, *, snapshot: bool = False
    ) -> Contents:
        """Find payloads: of this batch in memory, of earlier ones in the store."""
        elsewhere = tuple(input_id for input_id in ids if input_id not in draft.payloads)
        if not elsewhere and not snapshot:
            return Contents(draft.payloads)
        stored = await self.reads.contents(Wanted(draft.sender.runtime_id, elsewhere, snapshot))
        return Contents({**draft.payloads, **stored.payloads}, stored.snapshot)

    async def _buried(self, effect: BuryInput, draft: _Draft) -> DeadLetter:
        contents = await self._contents([effect.input_id], draft)
        sender = draft.sender
        message = Envelope(
            routing_key=sender.runtime_id,
            body=contents.payloads.get(effect.input_id, b""),
            message_id=str(effect.input_id),
            type=MessageType.INPUT,
        )
        return self._letter(message, (DeadLetterReason.ATTEMPTS_EXHAUSTED, effect.detail), sender)

    def _corrupt(self, record: CorruptRecord, sender: Sender) -> DeadLetter:
        row = Envelope(routing_key=sender.runtime_id, body=record.raw, message_id=record.input_id)
        return self._letter(row, (DeadLetterReason.CORRUPT_RECORD, record.detail), sender)

    def _letter(
        self, message: Envelope, cause: Cause, sender: Sender, *, queue: str = ""
    ) -> DeadLetter:
        return letter(
            message,
            letter_id=self.new_id(),
            runtime_id=sender.runtime_id,
            source_queue=queue,
            cause=cause,
            at=sender.now,
        )


def _session_snapshot(snapshot: SnapshotRecord | None) -> SessionSnapshot | None:
    if snapshot is None:
        return None
    if snapshot.blob_id is not None:
        return BlobRef(snapshot.blob_id)
    return base64.b64encode(snapshot.data or b"").decode()


def _processed(items: Sequence[Item]) -> tuple[DeadLetterId, ...]:
    """List the dead letters whose messages came again and did not die again."""
    return tuple(
        item.letter_id
        for item in items
        if item.letter_id is not None and item.disposition is not Disposition.DEAD_LETTER
    )
