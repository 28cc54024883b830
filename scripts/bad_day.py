"""Write docs/dead-letters.md: run the commands of scripts/bad-day.md on a bad day made for it."""  # noqa: INP001

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec
from playwright.async_api import Page
from uuid_utils.compat import uuid7

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus  # noqa: E402
from store.dead_letters import Letter, LetterFilter  # noqa: E402
from store.sql import SqlStore  # noqa: E402
from tests.support.browsing import Served, browser, served  # noqa: E402
from tests.support.commands import meerkat  # noqa: E402
from tests.support.deployment import Deployment  # noqa: E402
from tests.support.eventually import eventually  # noqa: E402
from worker.broker.link import Link  # noqa: E402
from worker.broker.publisher import Outgoing, Publisher  # noqa: E402
from worker.client import Prompt  # noqa: E402
from worker.sandbox import start_rabbitmq  # noqa: E402

TEMPLATE = ROOT / "scripts" / "bad-day.md"
PAGE = ROOT / "docs" / "dead-letters.md"
PICTURES = ROOT / "docs" / "images"
DIRECTIVE = re.compile(r"^\{\{(\w+): (.*)\}\}\n", re.MULTILINE)
CUSTOMER = {"name": "Ada", "api_key": "sk-live-0451"}


@dataclass
class BadDay:
    """A deployment on which things have gone wrong, and the names of what is there."""

    deployment: Deployment
    store: SqlStore
    console: Served
    page: Page
    executor: AsyncExitStack = field(default_factory=AsyncExitStack)
    names: dict[str, str] = field(default_factory=dict)

    async def night(self) -> None:
        """Let the order service and the provider do their worst."""
        await self._perform("tests.support.agents:hopeless")
        async with self.deployment.client() as client:
            for number in range(12):
                await client.publish(f"agent-{number % 3}", Prompt(f"plan shipment {number}"))
            await self._until(DeadLetterReason.ATTEMPTS_EXHAUSTED, 12)
            first = Prompt("refund order 6990")
            await client.publish("shop", first)
            await self._until(DeadLetterReason.ATTEMPTS_EXHAUSTED, 13)
            await self._send("shop", str(first.id), {**_prompt(first.id), "text": "refund 6991"})
        await self._until(DeadLetterReason.CONFLICT, 1)
        for number in range(40):
            item = uuid7()
            body = {**_prompt(item), "text": 7001 + number, "customer": CUSTOMER}
            await self._send(f"agent-{number % 5}", str(item), body)
        [*_, malformed] = await self._until(DeadLetterReason.MALFORMED, 40)
        [conflict] = await self._until(DeadLetterReason.CONFLICT, 1)
        exhausted = await self._until(DeadLetterReason.ATTEMPTS_EXHAUSTED, 13)
        mine = next(letter for letter in exhausted if letter.runtime_id == "agent-1")
        self.names |= {
            "malformed": str(malformed.id),
            "malformed_group": malformed.fingerprint,
            "conflict": str(conflict.id),
            "exhausted_group": mine.fingerprint,
            "exhausted_input": str(mine.message_id),
        }

    async def provider_is_back(self) -> None:
        """Have an executor that works."""
        await self._perform("worker.echo:executor")

    async def until_closed(self) -> None:
        """Wait for the redriven letters to close."""
        await self._until(DeadLetterReason.ATTEMPTS_EXHAUSTED, 13, DeadLetterStatus.CLOSED)

    async def until_mended(self) -> None:
        """Wait for the edited letter to close."""
        await self._until(DeadLetterReason.MALFORMED, 1, DeadLetterStatus.CLOSED)

    async def file(self, name: str) -> str:
        """Write the mended body of the letter that is edited, and show it."""
        found = await self.store.dead_letters.get(UUID(self.names["malformed"]))
        assert found is not None  # noqa: S101  # the night left it there
        body = msgspec.json.decode(found[1])
        path = self.deployment.directory / name
        path.write_bytes(msgspec.json.encode({**body, "text": f"plan order {body['text']}"}))
        return ""

    async def run(self, line: str) -> str:
        """Run a command, and show what was typed and what was said."""
        words = [word.format(**self.names) for word in shlex.split(line)]
        typed = " ".join(shlex.quote(word) for word in words)
        there = [
            str(self.deployment.directory / word) if word.endswith(".json") else word
            for word in words
        ]
        ended = await meerkat(*there, **self.deployment.variables)
        said = "\n".join(line.rstrip() for line in (ended.out + ended.err).splitlines())
        return f"```console\n$ meerkat-worker {typed}\n{said.strip()}\n```\n"

    async def picture(self, what: str) -> str:
        """Take a picture of a page of the console, by its name, address and description."""
        name, path, alternative = (part.strip() for part in what.split("|"))
        await self.page.goto(self.console.address + path.format(**self.names))
        await self.page.screenshot(path=PICTURES / f"{name}.png")
        return f"![{alternative}](images/{name}.png)\n"

    async def _perform(self, executor: str) -> None:
        await self.executor.aclose()
        await self.executor.enter_async_context(self.deployment.executor(executor))

    async def _send(self, runtime_id: str, message_id: str, body: object) -> None:
        properties = {"message_id": message_id, "type": "input"}
        exchange = f"{self.deployment.namespace}.inbox"
        message = Outgoing(exchange, runtime_id, msgspec.json.encode(body), properties)
        link = Link(self.deployment.amqp_url, "order service")
        async with link, Publisher(link) as publisher:
            await publisher.publish(message)

    async def _until(
        self,
        reason: DeadLetterReason,
        number: int,
        status: DeadLetterStatus = DeadLetterStatus.OPEN,
    ) -> list[Letter]:
        wanted = LetterFilter(status=status, reason=reason)

        async def found() -> list[Letter] | None:
            page = await self.store.dead_letters.letters(wanted, limit=100)
            return list(page.items) if len(page.items) >= number else None

        return await eventually(found, 60, f"{number} letters: {reason}, {status}")


def _prompt(input_id: UUID) -> dict[str, object]:
    header = {"id": str(input_id), "source": {"type": "external", "source_name": "orders"}}
    return {"input_type": "prompt", "header": header}


async def written(template: str, day: BadDay) -> str:
    """Carry out the directives of the template, in order, each in the place of its line."""
    parts: list[str] = []
    end = 0
    for found in DIRECTIVE.finditer(template):
        kind, what = found.groups()
        parts.append(template[end : found.start()])
        end = found.end()
        if kind == "do":
            act: Callable[[], Awaitable[None]] = getattr(day, what)
            await act()
        else:
            tell: Callable[[str], Awaitable[str]] = getattr(day, kind)
            parts.append(await tell(what))
    return "".join([*parts, template[end:]])


async def main() -> None:
    """Make the page."""
    with start_rabbitmq(private=True) as broker, tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/meerkat.db"
        deployment = Deployment(Path(directory), broker.url, "meerkat", url)
        await deployment.migrate()
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(deployment.store())
            await stack.enter_async_context(deployment.worker())
            console = await stack.enter_async_context(served(**deployment.variables))
            chromium = await stack.enter_async_context(browser())
            page = await chromium.new_page(viewport={"width": 1080, "height": 680})
            await page.goto(console.sign_in)
            day = BadDay(deployment, store, console, page)
            stack.push_async_callback(day.executor.aclose)
            PAGE.write_text(await written(TEMPLATE.read_text(), day))


if __name__ == "__main__":
    asyncio.run(main())
