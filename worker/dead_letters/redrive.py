"""Redrive: dead letters published again, same ids, after the cause is gone.

First the database says so: a letter and the message that redrives it change in one transaction.
Then the message is published. Whoever dies in between leaves it in the outbox, where any worker
finds it; so a redrive that was interrupted is gone on with by beginning it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

import msgspec

from schemas.ids import DeadLetterId
from schemas.records import OutboxMessage
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act, Answer, Edit, Redriven
from store.ports import Commit
from store.sql import SqlStore
from worker.broker.errors import BrokerError, UnroutableError
from worker.broker.topology import Topology
from worker.dead_letters.message import again
from worker.outbox import Publishes

CHUNK: Final = 500
"""Letters of one transaction: as many as pay, and as few as a rate or a Ctrl-C can wait for."""

PIECE: Final = 5_000
"""Letters that are named at once: a look for the next ones costs more than naming them."""

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""The bodies of one transaction, in memory at once."""

Sized = tuple[DeadLetterId, int]
"""A letter and the size of its body."""


class Progress(msgspec.Struct, frozen=True):
    """How far a redrive has come.

    Attributes:
        redriven: Letters whose messages the broker has.
        waiting: Letters whose messages are in the outbox: a worker publishes them.
        unroutable: Letters whose queue is gone: open again.
        refused: Letters that were left alone, by the reason.
    """

    redriven: int = 0
    waiting: int = 0
    unroutable: int = 0
    refused: dict[Answer, int] = {}

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.redriven + other.redriven,
            self.waiting + other.waiting,
            self.unroutable + other.unroutable,
            dict(Counter(self.refused) + Counter(other.refused)),
        )

    @property
    def done(self) -> int:
        """How many letters were looked at."""
        return self.redriven + self.waiting + self.unroutable + sum(self.refused.values())


@dataclass(frozen=True, slots=True)
class Redriver:
    """Publishes dead letters again.

    Attributes:
        clock: Tells the moment.
        new_id: Makes ids of outbox rows.
    """

    store: SqlStore
    publisher: Publishes
    topology: Topology
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def redrive(
        self,
        letter_ids: Sequence[DeadLetterId],
        *,
        who: str,
        note: str | None = None,
        edit: Edit | None = None,
    ) -> Progress:
        """Redrive letters, all in one transaction: at most ``CHUNK``, and not all of them large.

        Raises:
            StoreError: Nothing was redriven, or what was redriven waits in the outbox.
        """
        act = Act(who, self.clock(), note)
        answers = await self.store.letter_acts.redrive(letter_ids, act, self._compose, edit=edit)
        return await self._publish(answers)

    async def redrive_all(
        self,
        wanted: LetterFilter,
        *,
        who: str,
        note: str | None = None,
        limit: int | None = None,
        rate: float | None = None,
    ) -> AsyncIterator[Progress]:
        """Redrive the open letters that a filter means, the oldest first; tells how far it is.

        A letter that dies again meanwhile is not redriven twice. Ends early when the broker takes
        no more.

        Args:
            wanted: Which letters; their status does not count.
            who: Who does it.
            note: Why.
            limit: The most letters; None for all.
            rate: The most letters a second; None for as fast as it goes.
        """
        started = monotonic()
        total = Progress()
        async for chunk in self._chunks(wanted, limit, _size(rate)):
            total += await self.redrive(chunk, who=who, note=note)
            yield total
            if total.waiting:
                return
            if rate is not None:
                await asyncio.sleep(max(0.0, started + total.done / rate - monotonic()))

    async def _chunks(
        self, wanted: LetterFilter, limit: int | None, size: int
    ) -> AsyncIterator[list[DeadLetterId]]:
        left = limit
        after: DeadLetterId | None = None
        while left is None or left > 0:
            most = PIECE if left is None else min(PIECE, left)
            found = await self.store.dead_letters.open_ids(wanted, limit=most, after=after)
            if not found:
                return
            for chunk in chunks(found, size):
                yield chunk
            after = found[-1][0]
            left = None if left is None else left - len(found)

    def _compose(self, letter: Letter, body: bytes) -> OutboxMessage | None:
        return again(letter, body, self.topology, row_id=self.new_id(), now=self.clock())

    async def _publish(self, answers: Sequence[Redriven]) -> Progress:
        sent = [one for one in answers if one.message is not None]
        refused = Counter(one.answer for one in answers if one.message is None)
        outcome = _Published()
        if sent:
            messages = [one.message for one in sent if one.message is not None]
            faults = await self.publisher.publish_many(messages)
            for one, fault in zip(sent, faults, strict=True):
                outcome.note(one, fault)
            await self._take_back(outcome.unroutable)
            await self._forget(outcome)
        redriven, unroutable = len(outcome.confirmed), len(outcome.unroutable)
        return Progress(redriven, len(sent) - redriven - unroutable, unroutable, dict(refused))

    async def _take_back(self, letters: Sequence[Redriven]) -> None:
        """Open letters whose queue is not there: the message is nowhere but here."""
        if letters:
            act = Act("meerkat-worker", self.clock(), "redriven to a queue that does not exist")
            await self.store.letter_acts.reopen([one.letter_id for one in letters], act)

    async def _forget(self, outcome: _Published) -> None:
        rows = [one.message.id for one in outcome.settled if one.message is not None]
        if rows:
            await self.store.commit([Commit(None, 0, published=tuple(rows))])


@dataclass(slots=True)
class _Published:
    """What the broker said of messages; of those that it said nothing of, any worker will hear."""

    confirmed: list[Redriven] = field(default_factory=list)
    unroutable: list[Redriven] = field(default_factory=list)

    def note(self, one: Redriven, fault: BrokerError | None) -> None:
        if fault is None:
            self.confirmed.append(one)
        elif isinstance(fault, UnroutableError):
            self.unroutable.append(one)

    @property
    def settled(self) -> list[Redriven]:
        return [*self.confirmed, *self.unroutable]


def chunks(letters: Sequence[Sized], size: int) -> Iterator[list[DeadLetterId]]:
    """Cut a list of letters so that each piece is small, in number and in bytes."""
    chunk: list[DeadLetterId] = []
    weight = 0
    for letter_id, body_size in letters:
        if chunk and (len(chunk) >= size or weight + body_size > CHUNK_BYTES):
            yield chunk
            chunk, weight = [], 0
        chunk.append(letter_id)
        weight += body_size
    if chunk:
        yield chunk


def _size(rate: float | None) -> int:
    """Take a quarter of a second's letters at once, so that a rate is even."""
    return CHUNK if rate is None else max(1, min(CHUNK, int(rate / 4)))
