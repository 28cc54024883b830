"""Publishers: one for each runtime, steadily, each noting what it sends and what is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Final

import msgspec

from schemas.commands import Command
from tests.chaos.record import Entry, Record
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
        rate: Lines a second, all runtimes together.
        confirmed: How many messages the broker has confirmed.
        unconfirmed: How many tries ended without a confirm.
    """

    client: Client
    raw: Publisher
    inbox: str
    record: Record
    seed: int
    runtimes: Sequence[str]
    rate: float
    confirmed: int = 0
    unconfirmed: int = 0
    began: float = field(default_factory=monotonic)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def ready(  # noqa: PLR0913 - what a load is made of
        cls,
        url: str,
        namespace: str,
        layout: str,
        record: Record,
        *,
        seed: int,
        runtimes: int,
        rate: float,
    ) -> AsyncIterator[Load]:
        """Connect, and publish the first input to each runtime, so that all queues are there."""
        async with (
            Client(url, namespace=namespace, layout=layout) as client,
            Link(url, "chaos publisher of bytes") as link,
            Publisher(link) as raw,
        ):
            load = cls(client, raw, f"{namespace}.inbox", record, seed, names(runtimes), rate)
            yield load

    async def run(self) -> None:
        """Publish until it is over, and then until the last word is confirmed."""
        self.began = monotonic()
        async with asyncio.TaskGroup() as group:
            for number, runtime_id in enumerate(self.runtimes):
                last = LAST_WORDS[number] if runtime_id.startswith("commanded") else None
                random = Random(f"{self.seed} {runtime_id}")  # noqa: S311 - to be foreseen
                speaker = Speaker(self, runtime_id, Traffic(random, last))
                group.create_task(speaker.speak(), name=f"publisher of {runtime_id}")

    def note(self, entry: Entry, *, is_confirmed: bool = False) -> None:
        """Write an entry down."""
        at = round(monotonic() - self.began, 3)
        self.record.note(msgspec.structs.replace(entry, at=at, is_confirmed=is_confirmed))
        self.confirmed += is_confirmed


@dataclass(slots=True)
class Speaker:
    """The publisher of one runtime."""

    load: Load
    runtime_id: str
    traffic: Traffic
    _place: int = 0

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
        load = self.load
        mean = len(load.runtimes) / load.rate
        try:
            async with asyncio.timeout(self.traffic.random.uniform(0, 2 * mean)):
                await load.over.wait()
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
                outgoing = Outgoing(self.load.inbox, self.runtime_id, message.body, properties)
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
