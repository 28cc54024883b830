"""Publishers: one for each runtime, steadily, each noting what it sends and what is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from time import time
from typing import Final

import msgspec

from schemas.commands import Command
from tests.chaos.record import Entry, Record
from tests.chaos.terms import NAMESPACE, Terms
from tests.chaos.traffic import LAST_WORDS, Line, Message, Traffic
from worker.broker.errors import BrokerError
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.client import Client, ClientError, Draft, NoReplyError, PublishManyError

PATIENCE: Final = 5.0
"""Seconds for one try; a publisher that hears nothing tries again with the same ids."""

REPLY_PATIENCE: Final = 2.0
BREATH: Final = 0.1


def names(runtimes: int) -> list[str]:
    """Name the runtimes of a campaign; the first few are given commands."""
    commanded = min(len(LAST_WORDS), runtimes)
    return [f"commanded-{n}" if n < commanded else f"runtime-{n}" for n in range(runtimes)]


@dataclass(slots=True)
class Load:
    """What all publishers share.

    Attributes:
        confirmed: How many messages the broker has confirmed.
        unconfirmed: How many tries ended without a confirm.
        over: Set by whoever wants the publishers to come to an end.
    """

    client: Client
    raw: Publisher
    record: Record
    terms: Terms
    confirmed: int = 0
    unconfirmed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _speakers: list[Speaker] = field(init=False)

    def __post_init__(self) -> None:
        self._speakers = [
            Speaker(self, runtime_id, number)
            for number, runtime_id in enumerate(names(self.terms.runtimes))
        ]

    @classmethod
    @asynccontextmanager
    async def ready(cls, url: str, record: Record, terms: Terms) -> AsyncIterator[Load]:
        """Connect, and publish the first input to each runtime, so that all queues are there."""
        async with (
            Client(url, namespace=NAMESPACE, layout=terms.layout) as client,
            Link(url, "chaos publisher of bytes") as link,
            Publisher(link) as raw,
        ):
            load = cls(client, raw, record, terms)
            await asyncio.gather(*(speaker.greet() for speaker in load._speakers))
            yield load

    async def run(self) -> None:
        """Publish until it is over, and then until the last word is confirmed."""
        async with asyncio.TaskGroup() as group:
            for speaker in self._speakers:
                group.create_task(speaker.speak(), name=f"publisher of {speaker.runtime_id}")

    def note(self, entry: Entry, *, is_confirmed: bool = False) -> None:
        """Write an entry down."""
        self.record.note(msgspec.structs.replace(entry, at=time(), is_confirmed=is_confirmed))
        self.confirmed += is_confirmed


@dataclass(slots=True)
class Speaker:
    """The publisher of one runtime."""

    load: Load
    runtime_id: str
    number: int
    traffic: Traffic = field(init=False)
    _place: int = 0

    def __post_init__(self) -> None:
        random = Random(f"{self.load.terms.seed} {self.runtime_id}")  # noqa: S311 - to be foreseen
        last = LAST_WORDS[self.number] if self.runtime_id.startswith("commanded") else None
        self.traffic = Traffic(random, last)

    async def greet(self) -> None:
        """Publish the first input."""
        await self._say(self.traffic.greeting())

    async def speak(self) -> None:
        """Publish line after line, and goodbye when the load is over."""
        for line in self.traffic.lines():
            if await self._is_over():
                break
            await self._say(line)
        for line in self.traffic.farewell():
            await self._say(line)

    async def _is_over(self) -> bool:
        """Wait until the next line is due, or the load is over."""
        terms = self.load.terms
        mean = terms.runtimes / terms.rate
        try:
            async with asyncio.timeout(self.traffic.random.uniform(0, 2 * mean)):
                await self.load.over.wait()
        except TimeoutError:
            return False
        return True

    async def _say(self, line: Line) -> None:
        """Publish a line until all of it is confirmed: what is not, and all behind it, again."""
        entries = []
        for message in line:
            entries.append(message.entry(self.runtime_id, self._place))
            self._place += 1
        for entry in entries:
            self.load.note(entry)
        while line:
            done = await self._publish(line)
            for entry in entries[:done]:
                self.load.note(entry, is_confirmed=True)
            line, entries = line[done:], entries[done:]
            if not done:
                await asyncio.sleep(BREATH)

    async def _publish(self, line: Line) -> int:
        """Publish; answers how many, from the first on, are confirmed."""
        drafts = [message.said for message in line if isinstance(message.said, Draft)]
        try:
            if len(drafts) == len(line):
                await self._publish_drafts(drafts)
                return len(line)
            await self._publish_one(line[0])
        except PublishManyError as error:
            self.load.unconfirmed += 1
            failed = {failure.input_id for failure in error.failures}
            return next(place for place, one in enumerate(line) if one.id in failed)
        except (BrokerError, ClientError):
            self.load.unconfirmed += 1
            return 0
        return 1

    async def _publish_drafts(self, drafts: Sequence[Draft]) -> None:
        client = self.load.client
        if len(drafts) == 1:
            await client.publish(self.runtime_id, drafts[0], timeout=PATIENCE)
        else:
            pairs = [(self.runtime_id, draft) for draft in drafts]
            await client.publish_many(pairs, timeout=PATIENCE)

    async def _publish_one(self, message: Message) -> None:
        match message.said:
            case None:
                properties = {"message_id": str(message.id), "type": "input"}
                inbox = f"{NAMESPACE}.inbox"
                outgoing = Outgoing(inbox, self.runtime_id, message.body, properties)
                await self.load.raw.publish(outgoing, deadline=PATIENCE)
            case Draft() as draft:
                await self._publish_drafts([draft])
            case command:
                await self._command(command)

    async def _command(self, command: Command) -> None:
        try:
            await self.load.client.command(self.runtime_id, command, timeout=REPLY_PATIENCE)
        except NoReplyError:
            return  # It is confirmed all the same.
