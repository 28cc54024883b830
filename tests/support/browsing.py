"""A real browser without a screen, on a console that runs as a process of its own."""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    async_playwright,
)

from tests.support.commands import ROOT, finish, start
from worker.sandbox.install import Software, ensure


class Look(enum.StrEnum):
    """How a page is looked at."""

    WIDE = "wide"
    NARROW = "narrow"
    DARK = "dark"

    @property
    def size(self) -> ViewportSize:
        """What it has room in."""
        narrow: ViewportSize = {"width": 360, "height": 740}
        return narrow if self is Look.NARROW else {"width": 1180, "height": 800}


SCREENSHOTS = ROOT / "screenshots"
"""Kept for people to look at; not part of the project."""

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_GREETING = re.compile(
    r"The console is at (?P<address>\S+?)/\n.*? (?P<sign_in>http\S+)\n", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Served:
    """A console that is up: where it is, and the link that signs in."""

    address: str
    sign_in: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start Debian's Chromium; Playwright gives it a new, empty profile and takes it away."""
    executable = await asyncio.to_thread(ensure, Software.CHROMIUM)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield started
        finally:
            await started.close()


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of a browser, and what was displeasing in it.

    Complaints are the errors and warnings of the browser's log, where the content security policy
    speaks too; errors of scripts; dialogs; and requests to anywhere but here.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    async def look(self, look: Look) -> None:
        """Look at the page in another way."""
        await self.page.set_viewport_size(look.size)
        await self.page.emulate_media(color_scheme="dark" if look is Look.DARK else "light")

    async def screenshot(self, of: str) -> None:
        """Keep what is to be seen."""
        SCREENSHOTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{of}.png", full_page=True)

    def watch(self) -> None:
        """Note everything that displeases, from now on."""
        complaints = self.complaints
        # Not the list's own methods: what is given here is marked by Playwright.
        self.page.on("console", lambda message: complaints.extend(_complaint(message)))
        self.page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        self.page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: complaints.extend(_foreign(request)))


def _complaint(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type in ("error", "warning") else []


def _foreign(request: Request) -> list[str]:
    is_ours = request.url.startswith("http://127.0.0.1:")
    return [] if is_ours else [f"request: {request.url}"]


@asynccontextmanager
async def tab(browser: Browser, *, scripts: bool = True) -> AsyncIterator[Tab]:
    """Open a tab of a new profile; nothing in it may displease."""
    context = await browser.new_context(viewport=Look.WIDE.size, java_script_enabled=scripts)
    context.set_default_timeout(20_000)
    page = await context.new_page()
    made = Tab(page)
    made.watch()
    try:
        yield made
    finally:
        await context.close()
    assert made.complaints == [], made.complaints


@asynccontextmanager
async def served(*arguments: str, **variables: str) -> AsyncIterator[Served]:
    """Run ``meerkat-worker console`` on a free port; SIGTERM must end it with code 0."""
    process = await start("console", "--port", "0", *arguments, **variables)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = [(await process.stdout.readline()).decode() for _ in range(3)]
        greeting = _GREETING.search("".join(said))
        assert greeting is not None, f"it said where it is in other words, or not at all: {said}"
        yield Served(greeting["address"], greeting["sign_in"], process)
    finally:
        if process.returncode is None:
            process.terminate()
        ended = await finish(process)
    assert ended.code == 0, ended.err
