"""A console on a database that some work was done in, with no broker in reach."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from store import migrations
from store.open import open_store
from store.sql import SqlStore
from tests.support.consoles import ADDRESS, TOKEN, console_on, visiting
from tests.support.place import Place, furnished
from worker.console.console import Console
from worker.console.guard import LOOPBACK_NAMES

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a browser; the browser keeps cookies and follows nothing by itself."""

    client: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Look at a page."""
        return await self.client.get(path, headers=headers)

    async def text(self, path: str) -> str:
        """Look at a page that must be there."""
        page = await self.get(path)
        assert page.status_code == 200, (path, page.status_code, page.text)
        return page.text

    async def send(self, path: str, **form: str) -> httpx.Response:
        """Send a form as a page of this session has it."""
        page = await self.text("/dead-letters")
        token = _FORM_TOKEN.search(page)
        assert token is not None, "not signed in"
        return await self.client.post(path, data={"form_token": token[1], **form})


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Place]:
    """Do the work once; every test gets a copy."""
    file = tmp_path_factory.mktemp("console") / "meerkat.db"
    url = f"sqlite+aiosqlite:///{file}"
    migrations.upgrade(url)
    return file, asyncio.run(furnished(url))


@pytest.fixture
def place(template: tuple[Path, Place], tmp_path: Path) -> Place:
    """What is in the database of this test."""
    file, place = template
    shutil.copy(file, tmp_path / "meerkat.db")
    url = f"sqlite+aiosqlite:///{tmp_path / 'meerkat.db'}"
    return replace(place, url=url)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlStore]:
    """The database, to look at what the console did."""
    opened = await open_store(place.url)
    yield opened
    await opened.close()


@pytest.fixture
async def parts(store: SqlStore) -> AsyncIterator[Console]:
    """The console's parts."""
    made = console_on(store)
    yield made
    await made.acts.close()


Visit = Callable[..., Visitor]


@pytest.fixture
async def visit(parts: Console) -> AsyncIterator[Visit]:
    """Make visitors of the console."""
    async with AsyncExitStack() as stack:

        def made(names: frozenset[str] | None = LOOPBACK_NAMES, address: str = ADDRESS) -> Visitor:
            client = visiting(parts, names, address)
            stack.push_async_callback(client.aclose)
            return Visitor(client)

        yield made


@pytest.fixture
def guest(visit: Visit) -> Visitor:
    """Somebody on this machine who does not know the token."""
    return visit()


@pytest.fixture
async def operator(visit: Visit) -> Visitor:
    """Somebody who has signed in, as ada."""
    visitor = visit()
    answer = await visitor.get(f"/sign-in?token={TOKEN}")
    assert answer.status_code == 303
    return visitor
